#pragma once

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// x / (1 + exp(-x)), element by element; differentiable.
///
/// On the CPU the same bytes for any number of threads, the gradient too: at::silu rounds the
/// elements at the end of each thread's share differently (a scalar exp instead of a vector one),
/// and the shares depend on the number of threads.
at::Tensor stable_silu(const at::Tensor& x);

}  // namespace edgecompress
