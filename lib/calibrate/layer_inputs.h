#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

#include "calibrate/sequential_block.h"
#include "stats/hessian.h"

namespace edgecompress {

/// How much is kept of a group's inputs.
enum class InputDetail {
  Norms,    ///< one number an input: for scores
  Hessian,  ///< the second moments too: for compensation
};

/// What the linear layers of one group read, over all calibration tokens.
struct LayerInputs {
  at::Tensor norm;          ///< [in_features] float, L2 norm of each input over all tokens
  at::Tensor deviation;     ///< [in_features] float, the same of each input minus its mean
  at::Tensor largest = {};  ///< [in_features] float, largest |input|
  at::Tensor sample = {};   ///< [tokens, in_features] float, some tokens, spread evenly over all
  at::Tensor hessian;  ///< [in_features, in_features] double, mean of x x^T; undefined with Norms
};

/// Gathers a group's inputs from a SequentialBlock; the same bytes for any number of threads.
/// also: sees them too, after they are counted; may be empty.
/// Throws Error{Numeric} F20 when an activation is not finite.
LayerInputs gather_inputs(SequentialBlock& tokens, InputGroup group, const BlockWeights& block,
                          InputDetail detail, const SequentialBlock::TokenSink& also = {});

}  // namespace edgecompress
