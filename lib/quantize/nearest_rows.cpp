#include "quantize/nearest_rows.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"

namespace edgecompress {
namespace {

// Weights that are worth one hand-over to a thread.
constexpr std::int64_t kWeightsPerPiece = 1 << 16;

void encode(std::span<const float> weights, Grid grid, const QuantScheme& scheme,
            std::int8_t* codes) {
  const Span span = code_span(scheme, grid.zero_point);
  const std::int32_t offset = grid.zero_point - std::bit_cast<std::int32_t>(kRoundingBias);
  const float* const weight = weights.data();
  const std::size_t count = weights.size();
  for (std::size_t i = 0; i < count; ++i) {
    const float steps = weight[i] / grid.step;
    const float low = steps < span.low ? span.low : steps;
    const float inside = low > span.high ? span.high : low;
    codes[i] =
        static_cast<std::int8_t>(std::bit_cast<std::int32_t>(inside + kRoundingBias) + offset);
  }
}

struct RowOutput {
  std::int8_t* codes;
  float* scales;
  std::int8_t* zero_points;  // null when symmetric
};

/// Returns false, with the output unfinished, when a weight is not finite.
bool round_row(std::span<const float> row, const QuantScheme& scheme, const GridChoice& choose_grid,
               const RowOutput& out) {
  const auto columns = static_cast<std::int64_t>(row.size());
  const auto length = static_cast<std::size_t>(scheme.group_length(columns));
  for (std::size_t begin = 0, group = 0; begin < row.size(); begin += length, ++group) {
    const auto weights = row.subspan(begin, std::min(length, row.size() - begin));
    Range range{};
    if (!find_range(weights, range)) return false;
    const Grid grid = choose_grid(weights, static_cast<std::int64_t>(begin), range);
    out.scales[group] = grid.step;
    if (out.zero_points != nullptr)
      out.zero_points[group] = static_cast<std::int8_t>(grid.zero_point);
    encode(weights, grid, scheme, out.codes + begin);
  }
  return true;
}

void lower_to(std::atomic<std::int64_t>& least, std::int64_t value) {
  std::int64_t seen = least.load();
  while (value < seen && !least.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace

QuantizedMatrix round_rows(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                           const QuantScheme& scheme, const GridChoice& choose_grid,
                           int num_threads) {
  ensure(rows >= 0 && columns > 0 && std::cmp_equal(weight.size(), rows * columns),
         "a weight of rows * columns");
  ensure((scheme.bits == 4 || scheme.bits == 8) && scheme.group_size >= 0,
         "a scheme of 4 or 8 bits");
  const std::int64_t groups = scheme.groups_per_row(columns);
  std::vector<std::int8_t> codes(weight.size());
  std::vector<float> scales(static_cast<std::size_t>(rows * groups));
  std::vector<std::int8_t> zero_points(scheme.symmetry == Symmetry::Asymmetric ? scales.size() : 0);
  const auto row_of = [&](std::int64_t row) {
    return weight.subspan(static_cast<std::size_t>(row * columns),
                          static_cast<std::size_t>(columns));
  };

  std::atomic<std::int64_t> first_refused{rows};
  const std::int64_t grain = std::max<std::int64_t>(1, kWeightsPerPiece / columns);
  parallel_for(rows, grain, num_threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowOutput out{codes.data() + row * columns, scales.data() + row * groups,
                          zero_points.empty() ? nullptr : zero_points.data() + row * groups};
      if (!round_row(row_of(row), scheme, choose_grid, out)) lower_to(first_refused, row);
    }
  });
  if (first_refused < rows) refuse_weight(row_of(first_refused), first_refused);
  return {rows, columns, scheme, std::move(codes), std::move(scales), std::move(zero_points)};
}

}  // namespace edgecompress
