#pragma once

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// The sum of all elements in double, in an order that does not depend on the number of threads
/// (at::sum's does).
double ordered_sum(const at::Tensor& values);

}  // namespace edgecompress
