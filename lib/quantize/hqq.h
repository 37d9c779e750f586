#pragma once

#include <cstdint>
#include <span>

#include "methods/hqq_options.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// Rounds to the nearest code of grids that half-quadratic splitting finds (HQQ, Badri and Shaji
/// 2023, https://mobiusml.github.io/hqq_blog).
///
/// From the full range of a group, each iteration takes as outliers what the shrinkage of an l_p
/// norm, p = 1/2, leaves of the rounding errors, and fits the grid to the other part of the
/// weights. The published method moves the zero point alone, and to a fraction; here the scale is
/// fitted with it and the zero point is a code, as the runtimes need and so that 0 stays 0. Of all
/// grids on the way the one with the smallest squared error is taken, so that it is never larger
/// than round to nearest's.
/// Everything is in steps of the grid: weights times a power of two give the same codes.
/// Returns the same for any num_threads.
/// Throws  Error{Numeric} N1 naming the first weight that is not finite.
QuantizedMatrix quantize_hqq(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                             const QuantScheme& scheme, const HqqOptions& options, int num_threads);

}  // namespace edgecompress
