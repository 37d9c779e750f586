#pragma once

#include <cstdint>
#include <span>

#include "linear_algebra/matrix_view.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// Rounds to the nearest code of the range of each group that loses least of the group's output
/// (AWQ's clip search, arXiv 2306.00978, section 3.2 and its code).
///
/// Of ranges 1.14, 1.10, ... 0.50 times as wide, the full one first, the one with the smallest
/// d H d^T, d the group's rounding errors, H the Hessian of its inputs; runs of 128 inputs of a
/// longer group are taken as uncorrelated.
/// weight:  [rows, columns] row-major. hessian: [columns, columns].
/// Returns the same for any num_threads.
/// Throws  Error{Numeric} N1 naming the first weight that is not finite.
/// Cost:   36 * min(group, 128) FLOPs for each weight.
QuantizedMatrix quantize_output_clip(std::span<const float> weight, std::int64_t rows,
                                     std::int64_t columns, const QuantScheme& scheme,
                                     MatrixView<const float> hessian, int num_threads);

}  // namespace edgecompress
