#pragma once

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// input * weight^T, [.., out_features]; of the type of both. Differentiable in both.
///
/// input: [.., in_features]; weight: [out_features, in_features].
/// The gradients are the same bytes for any number of threads: every tile of their products is
/// computed by one thread. MKL shares long sums among threads, and those of the weight's gradient
/// go over all tokens.
at::Tensor stable_linear(const at::Tensor& input, const at::Tensor& weight);

/// a * b, [m, n], in tiles of rows that one thread each computes; not differentiable.
at::Tensor stable_product(const at::Tensor& a, const at::Tensor& b);

}  // namespace edgecompress
