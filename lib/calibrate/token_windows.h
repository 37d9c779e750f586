#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace edgecompress {

/// Token sequences of one length, cut from one text.
struct TokenWindows {
  std::string source;             ///< the text's file name, without its folder
  std::vector<std::int32_t> ids;  ///< [count, length], row-major
  std::int64_t count = 0;
  std::int64_t length = 0;
  std::int64_t text_tokens = 0;  ///< of the whole text
  std::string sha256;            ///< of ids as little-endian int32; with lengths, of each window's
                                 ///< length and ids without padding
  /// How many tokens each window has, the rest of `length` being padding behind them; empty: all.
  std::vector<std::int64_t> lengths = {};

  std::span<const std::int32_t> window(std::int64_t index) const {
    return std::span(ids).subspan(static_cast<std::size_t>(index * length),
                                  static_cast<std::size_t>(length));
  }
};

/// Which of a text's W windows are taken when at most n are.
enum class WindowOrder {
  Spread,  ///< number floor(i * W / n) for i = 0 ... n - 1
  First,   ///< the first n
};

struct WindowChoice {
  std::int64_t length = 512;              ///< tokens of a window, >= 2
  std::optional<std::int64_t> max_count;  ///< nothing: all
  WindowOrder order = WindowOrder::Spread;
};

/// Cuts ids into non-overlapping windows, drops the tail, and takes the chosen ones.
/// Throws Error{Malformed} F24 when not even one window fits, with the number of tokens there are
/// and are needed.
TokenWindows cut_windows(std::span<const std::int32_t> ids, const WindowChoice& choice,
                         const std::string& source);

/// Takes sequences of any lengths as windows: longer ones are cut into windows of choice.length and
/// a shorter last one, which is dropped when it has a single token. Of all windows the chosen ones
/// are taken. Throws Error{Malformed} F24 when there is none.
TokenWindows sequence_windows(const std::vector<std::vector<std::int32_t>>& sequences,
                              const WindowChoice& choice, const std::string& source);

/// Encodes a UTF-8 text file in one call (special tokens once, at its start) and cuts it.
/// vocab_size: of the model. Throws also Error{Malformed} F25 for an id the model has no embedding
/// for. A file of JSON lines (calibrate/json_lines.h) is encoded line by line, special tokens at
/// the start of each, into one sequence that is cut; one that holds token ids is refused, F26.
TokenWindows read_token_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                const WindowChoice& choice, std::int64_t vocab_size);

/// The same, but refuses a text with fewer than `choice.max_count` windows: what calibration asks
/// for must be there. JSON lines may hold token ids: then each line's are windows of their own.
TokenWindows read_calibration_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                      const WindowChoice& choice, std::int64_t vocab_size);

}  // namespace edgecompress
