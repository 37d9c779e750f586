#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// How well a model predicts a text, and how close it is to a reference model on the same tokens.
struct LanguageModelScores {
  double perplexity = 0;  ///< exp(mean negative log-likelihood over the targets)
  std::int64_t windows = 0;
  std::int64_t target_tokens = 0;  ///< length - 1 per window
  std::optional<double> reference_perplexity = {};
  std::optional<double>
      kl_divergence_nats;  ///< mean KL(reference || model) over the predicting positions
  std::optional<double> top1_agreement;  ///< share of them with the reference's argmax, 0..1
};

/// Adds up windows. Log-softmax in float, sums in double, in the order of the windows.
class ScoreSum {
 public:
  /// logits: [length, vocab_size] of one window on the CPU; ids: the window's tokens.
  /// reference_logits: the reference model's, or undefined. Throws Error{Numeric} when a logit is
  /// not finite.
  void add_window(const at::Tensor& logits, std::span<const std::int32_t> ids,
                  const at::Tensor& reference_logits);

  LanguageModelScores scores() const;

 private:
  double negative_log_likelihood_ = 0;
  double reference_log_likelihood_ = 0;
  double kl_divergence_ = 0;
  std::int64_t agreements_ = 0;
  std::int64_t windows_ = 0;
  std::int64_t targets_ = 0;
  bool compared_ = false;
};

}  // namespace edgecompress
