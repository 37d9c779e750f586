#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "methods/training_options.h"

namespace edgecompress {

/// The loss of one window's predictions, and what it wants of the logits.
///
/// Cross entropy: -log p(target); gradient p - 1[target].
/// Divergence: KL(t || p) with the teacher's distribution t; gradient p - t.
/// Log-softmax in float, sums in double in a fixed order.
class WindowLoss {
 public:
  /// logits: [length, vocab_size]; ids: the window's tokens, each predicted by the position before.
  /// teacher_logits: of the same shape; looked at with TrainingLoss::Divergence only.
  WindowLoss(TrainingLoss loss, const at::Tensor& logits, std::span<const std::int32_t> ids,
             const at::Tensor& teacher_logits);

  /// Summed over the window's predictions.
  double sum() const;

  /// The sum's gradient in the logits, [length, vocab_size]; 0 at the last position, which
  /// predicts nothing.
  at::Tensor gradient() const;

 private:
  at::Tensor log_p_;           // [predictions, vocab_size]
  at::Tensor targets_;         // [predictions, 1]
  at::Tensor teacher_logits_;  // [predictions, vocab_size]; undefined: cross entropy
};

}  // namespace edgecompress
