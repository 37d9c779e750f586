#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

#include "calibrate/sequential_block.h"
#include "methods/method_names.h"
#include "stats/hessian.h"

namespace edgecompress {

/// What the linear layers of one group read, over all calibration tokens. A tensor that a lower
/// CalibrationNeed does not ask for is undefined.
struct LayerInputs {
  at::Tensor norm;          ///< [in_features] float, L2 norm of each input over all tokens
  at::Tensor deviation;     ///< [in_features] float, the same of each input minus its mean
  at::Tensor largest = {};  ///< with Sample: [in_features] float, largest |input|
  at::Tensor sample = {};  ///< with Sample: [tokens, in_features] float, at most 512 tokens, spread
                           ///< evenly over all
  at::Tensor hessian;      ///< from Hessian on: [in_features, in_features] double, mean of x x^T
};

/// Gathers a group's inputs from a SequentialBlock; the same bytes for any number of threads.
/// need: not None. also: sees them too, after they are counted; may be empty.
/// Throws Error{Numeric} F20 when an activation is not finite.
LayerInputs gather_inputs(SequentialBlock& tokens, InputGroup group, const BlockWeights& block,
                          CalibrationNeed need, const SequentialBlock::TokenSink& also = {});

}  // namespace edgecompress
