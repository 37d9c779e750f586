#include "quantize/rtn.h"

#include "quantize/grid.h"
#include "quantize/nearest_rows.h"

namespace edgecompress {

QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                             const QuantScheme& scheme, const RtnOptions& options,
                             int num_threads) {
  const GridChoice full = [&](std::span<const float>, std::int64_t, Range range) {
    return grid_of(range, 1, scheme);
  };
  const GridChoice searched = [&](std::span<const float> weights, std::int64_t, Range range) {
    return search_grid(weights, {}, range, scheme);
  };
  return round_rows(weight, rows, columns, scheme,
                    options.clip == ClipSearch::WeightError ? searched : full, num_threads);
}

}  // namespace edgecompress
