#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ort/session.h"

namespace edgecompress {

struct BeamSearchOptions {
  std::int64_t beams = 4;  ///< continuations that are followed at a time
  std::int64_t max_tokens = 64;
  std::vector<std::int64_t> end_tokens = {};  ///< a continuation stops behind one of these
};

/// Continues a prompt with the cache, following the `beams` most likely continuations at a time.
/// Whole continuations are compared by their mean log-probability per token, an end token included;
/// among equals the one that was ahead before. The search is over when as many have ended, and none
/// of them is less likely than the best that is still followed. The session is reset first.
/// prompt: at least one token id. Returns the new tokens, an end token included.
/// Throws as DecoderSession::run; Error{Numeric} F20 when a logit is not finite.
/// Cost: per token one run over `beams` rows, and a copy of their caches.
std::vector<std::int64_t> search_beams(DecoderSession& session,
                                       std::span<const std::int64_t> prompt,
                                       const BeamSearchOptions& options);

}  // namespace edgecompress
