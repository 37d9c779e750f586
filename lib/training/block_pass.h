#pragma once

#include <functional>

#include "calibrate/hidden_states.h"
#include "decoder/block_forward.h"
#include "training/trainer.h"

namespace edgecompress {

/// What a decoder block gets and what it is to give, for the same windows.
struct BlockExamples {
  HiddenStates& inputs;   ///< of the block that is trained: what the blocks before it really give
  HiddenStates& targets;  ///< outputs of the dense block on the dense model's inputs
};

/// The weights of a block as they are now, on the device that it is computed on. Gradients reach
/// what they are made of.
using TrainedWeights = std::function<BlockWeights()>;

/// Losses and gradients of one decoder block.
///
/// Loss: the mean over tokens, padding left out, of |output - target|^2 / |target|^2. What follows
/// a block divides a token's states by their length, and a first token is often a hundred times
/// longer than others. Source: EfficientQAT, arXiv 2407.11062, section 3.2 (Block-AP), there
/// without the division.
class BlockPass {
 public:
  /// rotary, examples: must outlive the pass.
  BlockPass(TrainedWeights weights, const RotaryTable& rotary, BlockExamples examples,
            at::Device device);

  /// The mean loss over some windows.
  double loss(WindowIndices windows);

  /// The same; adds its gradient to the parameters'.
  double add_gradients(WindowIndices windows);

 private:
  struct Distance {
    at::Tensor difference;  // output - target, [windows, length, hidden_size]
    at::Tensor weights;     // 1 / |target|^2 of a token, 0 of padding, [windows, length, 1]
    double sum() const;     // over the tokens
  };
  Distance distance(const at::Tensor& output, WindowIndices windows);
  std::int64_t tokens(WindowIndices windows) const;

  TrainedWeights weights_;
  const RotaryTable& rotary_;
  BlockExamples examples_;
  at::Device device_;
};

/// The pass as an objective; `pass` must outlive it.
/// settle: to be called after each step; see TrainingObjective.
TrainingObjective block_objective(BlockPass& pass, std::function<void()> settle);

}  // namespace edgecompress
