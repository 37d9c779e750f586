#pragma once

#include <cstdint>

#include "calibrate/token_windows.h"
#include "evaluate/model_evaluation.h"
#include "ort/session.h"

namespace edgecompress {

/// Logits of an exported decoder, one window at a time from an empty cache. The session must
/// outlive the result.
WindowLogits artifact_logits(DecoderSession& session, const TokenWindows& windows);

/// How far an artifact's logits lie from the model's it was made of.
struct LogitAgreement {
  double max_error = 0;   ///< largest |difference|
  double mean_error = 0;  ///< mean |difference|
  double max_logit = 0;   ///< largest |logit| of the model
};
LogitAgreement compare_logits(const TokenWindows& windows, const WindowLogits& model,
                              const WindowLogits& artifact);

/// The largest |difference| between a prefill of the first window in one piece and the same tokens
/// one by one.
double cache_split_error(DecoderSession& session, const TokenWindows& windows,
                         std::int64_t max_tokens);

/// Medians over repetitions, in one session. Decoding is 0 where the context holds one token.
struct DecoderSpeed {
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
};
struct SpeedOptions {
  std::int64_t context_tokens = 160;  ///< that the artifact can hold
  std::int64_t prompt_tokens = 128;   ///< bounded by the window's length and the context
  std::int64_t decode_tokens = 32;    ///< bounded by half of the context
  std::int64_t repetitions = 5;
};
DecoderSpeed measure_speed(DecoderSession& session, const TokenWindows& windows,
                           const SpeedOptions& options);

}  // namespace edgecompress
