#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// All elements in row-major order, copied to main memory.
std::vector<float> host_floats(const at::Tensor& values);

}  // namespace edgecompress
