#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "quantize/grid.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// The grid of one group. first: its first column. range: of the weights, all finite.
using GridChoice =
    std::function<Grid(std::span<const float> weights, std::int64_t first, Range range)>;

/// Rounds each group of each row to the nearest code of its own grid, halves to the even one.
///
/// Returns the same for any num_threads. Throws Error{Numeric} N1 naming the first weight that is
/// not finite.
QuantizedMatrix round_rows(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                           const QuantScheme& scheme, const GridChoice& choose_grid,
                           int num_threads);

}  // namespace edgecompress
