#pragma once

#include <ATen/core/Tensor.h>

#include "weights/activation_rounding.h"

namespace edgecompress {

/// What a linear layer computes with when its inputs are rounded: real values, each a code times
/// its range's scale.
///
/// input: [batch, length, in_features] float. Int8PerTensor takes one range for each of the batch;
/// the last block of Int8PerBlock may be short.
/// Differentiable: the gradient passes as if nothing were rounded.
at::Tensor round_activations(const at::Tensor& input, const ActivationScheme& scheme);

}  // namespace edgecompress
