#pragma once

#include <ATen/core/Tensor.h>

#include "calibrate/layer_inputs.h"
#include "calibrate/sequential_block.h"

namespace edgecompress {

/// Second moments of what a group of layers reads now with what it should bring about.
struct DenseMoments {
  at::Tensor inputs;    ///< [dense in_features, in_features] double: mean of x_dense x^T
  at::Tensor residual;  ///< [hidden_size, in_features] double: mean of (r_dense - r) x^T with r
                        ///< what the layer's output is added to; undefined for QKV and GateUp
};

struct ReferencedInputs {
  LayerInputs inputs;  ///< with the Hessian
  DenseMoments dense;
};

/// The calibration tokens inside the same block of the dense model, beside the SequentialBlock that
/// holds them in the compressed one. Shows, group by group, what the dense model reads there and
/// how far the residual stream has drifted from its own.
///
/// Keeps one group's dense inputs for all windows, in memory or in a file as the hidden states are.
class DenseReference {
 public:
  /// states: at the block's input in the dense model, left as they are; rotary: both must outlive
  /// this object. dense: the block's weights on the target.
  DenseReference(HiddenStates& states, BlockWeights dense, const RotaryTable& rotary,
                 const ComputeTarget& target, const HiddenStateStorage& storage);

  /// Shows the group in both models; as SequentialBlock::show(), each group at most once.
  /// need: of the compressed model's inputs, Hessian or more.
  ReferencedInputs gather(SequentialBlock& tokens, InputGroup group, const BlockWeights& block,
                          CalibrationNeed need = CalibrationNeed::Hessian);

  /// Goes past a group that nobody asks about.
  void skip(InputGroup group);

  const BlockWeights& block() const { return dense_; }

 private:
  const BlockWeights dense_;
  const HiddenStateStorage storage_;
  SequentialBlock tokens_;
};

/// E[y x^T] of one of the group's layers, [out_features, in_features] double: y is what its output
/// must be, on the inputs it reads now, for the residual stream (O, Down) or its own output (the
/// others) to be the dense model's. dense_weight: the dense layer's, biases left out on both sides.
at::Tensor wanted_outputs(const at::Tensor& dense_weight, const DenseMoments& moments);

}  // namespace edgecompress
