#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ort/session.h"

namespace edgecompress {

/// How the next token is chosen. The same options and logits give the same tokens.
struct GenerationOptions {
  std::int64_t max_tokens = 64;
  double temperature = 0;  ///< 0: the most likely token, the lowest id of equals; else sampling
  std::int64_t top_k = 0;  ///< sampling from the k most likely; 0: all
  double top_p = 1;        ///< sampling from the most likely that together reach this share
  std::uint64_t seed = 0;
  std::vector<std::int64_t> end_tokens = {};  ///< generation stops behind one of these
};

/// Continues a prompt with the cache. The session is reset first.
/// prompt: at least one token id. Returns the new tokens, an end token included.
/// Throws as DecoderSession::run; Error{Numeric} F20 when a logit is not finite.
std::vector<std::int64_t> generate_tokens(DecoderSession& session,
                                          std::span<const std::int64_t> prompt,
                                          const GenerationOptions& options);

/// Picks a token of one position's logits. uniform: of [0, 1), decides among the candidates.
std::int64_t pick_token(std::span<const float> logits, const GenerationOptions& options,
                        double uniform);

}  // namespace edgecompress
