#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace edgecompress {

// Calibration data as JSON lines: UTF-8, an object a line, empty lines skipped. Either every object
// has `text`, or every one has `input_ids`; other keys are ignored.
// Errors of the format are Error{Malformed} F26 with the file and the number of the line.

/// Whether the file's name ends in ".jsonl".
bool is_json_lines(const std::filesystem::path& path);

/// Whether the file's first line has `input_ids`.
bool holds_token_ids(const std::filesystem::path& path);

struct TextLine {
  std::int64_t number = 0;  ///< from 1
  std::string text;
};

/// The lines' texts, empty ones left out.
std::vector<TextLine> read_text_lines(const std::filesystem::path& path);

/// The lines' token ids, each sequence at least 2 of [0, vocab_size). Where a line has
/// `attention_mask`, as many 0 and 1 as ids, the tokens of 0 are padding and left out.
std::vector<std::vector<std::int32_t>> read_id_lines(const std::filesystem::path& path,
                                                     std::int64_t vocab_size);

}  // namespace edgecompress
