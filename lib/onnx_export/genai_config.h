#pragma once

#include <cstdint>
#include <string>

#include "llama/config.h"
#include "onnx_export/llama_graph.h"

namespace edgecompress {

struct GenaiConfigOptions {
  std::int64_t context_length = 0;
  std::int64_t max_generation_length = 0;
  std::int64_t cache_head_dim = 0;
  PositionInput positions = PositionInput::Absent;
  /// Whether past and present may be one buffer: only GroupQueryAttention writes in place.
  enum class Cache { Shared, Separate } cache = Cache::Shared;
  /// File name of the operator library beside the graph; empty: none is needed.
  std::string operator_library = {};
  /// Whether the graph multiplies 8-bit codes: the session then asks for sums that do not saturate.
  bool integer_products = false;
};

/// genai_config.json as onnxruntime-genai reads it. It refuses every key it does not know,
/// fractional counts, and a list of pad tokens; so the keys are exactly those its own builder
/// writes, and pad_token_id is always one number: the config's, else the first end token, else the
/// begin token, else 0.
std::string genai_config_text(const LlamaConfig& config, const GenaiConfigOptions& options);

}  // namespace edgecompress
