#pragma once

#include <cstdint>
#include <functional>

#include <ATen/core/Tensor.h>

#include "calibrate/hidden_states.h"
#include "calibrate/token_windows.h"
#include "training/trained_model.h"
#include "training/trainer.h"

namespace edgecompress {

/// What a model is trained on.
struct TrainingData {
  const TokenWindows& windows;
  HiddenStates& embedded;  ///< the windows' embeddings
  /// The teacher's logits of a window, [length, vocab_size]; needed with TrainingLoss::Divergence.
  std::function<at::Tensor(std::int64_t window)> teacher_logits;
};

/// Losses and gradients of a whole model, one decoder block at a time: the forward pass keeps the
/// hidden states between the blocks, and the backward pass computes each block once more
/// (activation checkpointing, arXiv 1604.06174). One block's matrices with their gradients are in
/// memory at a time, and about 2048 tokens' hidden states.
class EndToEndPass {
 public:
  /// All must outlive the pass.
  EndToEndPass(const TrainedModel& model, TrainingData& data, TrainingLoss loss);

  /// The mean loss per predicted token over some windows.
  double loss(WindowIndices windows);

  /// The same; adds its gradient to the parameters'.
  double add_gradients(WindowIndices windows);

 private:
  at::Tensor embedded(WindowIndices windows);
  double predicted(WindowIndices windows) const;
  at::Tensor logits_of(const at::Tensor& normed) const;  ///< [length, hidden_size] of a window
  double head_loss(const at::Tensor& normed, WindowIndices windows, at::Tensor* gradient);
  double add_piece(WindowIndices windows, double share);

  const TrainedModel& model_;
  TrainingData& data_;
  TrainingLoss loss_;
  RotaryTable rotary_;
};

/// The pass as an objective; `model` and `pass` must outlive it.
TrainingObjective end_to_end_objective(TrainedModel& model, EndToEndPass& pass);

}  // namespace edgecompress
