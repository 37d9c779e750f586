#pragma once

#include "calibrate/hidden_states.h"
#include "training/trained_block.h"
#include "training/trainer.h"

namespace edgecompress {

/// What a decoder block gets and what it is to give, for the same windows.
struct BlockExamples {
  HiddenStates& inputs;   ///< of the block that is trained: what the blocks before it really give
  HiddenStates& targets;  ///< outputs of the dense block on the dense model's inputs
};

/// Losses and gradients of one decoder block.
///
/// Loss: the mean over tokens of |output - target|^2 / |target|^2. What follows a block divides a
/// token's states by their length, and a first token is often a hundred times longer than others.
/// Source: EfficientQAT, arXiv 2407.11062, section 3.2 (Block-AP), there without the division.
class BlockPass {
 public:
  /// All must outlive the pass.
  BlockPass(const TrainedBlock& block, const RotaryTable& rotary, BlockExamples examples,
            at::Device device);

  /// The mean loss over some windows.
  double loss(WindowIndices windows);

  /// The same; adds its gradient to the parameters'.
  double add_gradients(WindowIndices windows);

 private:
  struct Distance {
    at::Tensor difference;  // output - target, [windows, length, hidden_size]
    at::Tensor target;
  };
  Distance distance(const at::Tensor& output, WindowIndices windows);
  std::int64_t tokens(WindowIndices windows) const;

  const TrainedBlock& block_;
  const RotaryTable& rotary_;
  BlockExamples examples_;
  at::Device device_;
};

/// The pass as an objective; `block` and `pass` must outlive it.
TrainingObjective block_objective(TrainedBlock& block, BlockPass& pass);

}  // namespace edgecompress
