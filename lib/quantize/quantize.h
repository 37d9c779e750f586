#pragma once

#include <cstdint>
#include <span>

#include "methods/quantize_method.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// Puts a weight on the grid.
///
/// weight:  [rows, columns], row-major, finite. A weight of exactly 0 gets the code of 0.
/// Returns  codes, scales and zero points; the same for any num_threads.
/// Throws   Error{Numeric} naming row and column of a NaN or infinity.
/// Every method holds this contract: codes lie in the grid, zeros stay zeros, the weight is not
/// modified.
QuantizedMatrix quantize(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                         const QuantScheme& scheme, const QuantizeMethod& method, int num_threads);

}  // namespace edgecompress
