#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace edgecompress {

/// A text whose ids in onnxruntime-genai are not those of tokenizer.json.
struct GenaiDifference {
  std::string text;  ///< UTF-8; empty where the file alone does not tell which texts differ
  std::string reason;
};

/// Returns one text for each property of a tokenizer.json that makes onnxruntime-genai's own
/// tokenizer give other ids (special tokens of the post-processor left out), or none when the file
/// has no such property. Throws as Tokenizer::parse.
/// Source: onnxruntime-genai 0.18, measured (tests/conformance/genai_tokenizer.py).
std::vector<GenaiDifference> genai_differences(std::string_view tokenizer_json,
                                               const std::string& source);

}  // namespace edgecompress
