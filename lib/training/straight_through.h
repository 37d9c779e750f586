#pragma once

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// `exact`, bit for bit, with the gradient of `carrier`: the straight-through estimator.
///
/// The two must lie within a factor of two of each other, or exact be 0, as rounded values and what
/// was rounded do: then the difference and the sum are exact in floating point (Sterbenz).
/// Source: Bengio, Léonard and Courville, arXiv 1308.3432.
at::Tensor straight_through(const at::Tensor& exact, const at::Tensor& carrier);

}  // namespace edgecompress
