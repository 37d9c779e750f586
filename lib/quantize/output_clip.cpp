#include "quantize/output_clip.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/error.h"
#include "linear_algebra/product.h"
#include "quantize/grid.h"
#include "quantize/nearest_rows.h"

namespace edgecompress {
namespace {

constexpr int kLargestPercent = 114;
constexpr int kSmallestPercent = 50;
constexpr int kStridePercent = 4;
constexpr std::size_t kRun = 128;  // inputs whose correlations are looked at

/// d H d^T of a run of up to kRun rounding errors, H from `first` on.
double run_error(std::span<const float> errors, MatrixView<const float> hessian,
                 std::int64_t first) {
  float product[kRun] = {};  // -d H
  const auto count = static_cast<std::int64_t>(errors.size());
  for (std::int64_t i = 0; i < count; ++i) {
    subtract_multiple(errors[static_cast<std::size_t>(i)], hessian.row(first + i) + first, product,
                      count);
  }
  double error = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    error -= static_cast<double>(errors[i]) * product[i];
  }
  return error;
}

double group_error(std::span<const float> weights, Grid grid, const QuantScheme& scheme,
                   MatrixView<const float> hessian, std::int64_t first) {
  const Span span = code_span(scheme, grid.zero_point);
  float errors[kRun];
  double total = 0;
  for (std::size_t begin = 0; begin < weights.size(); begin += kRun) {
    const auto run = weights.subspan(begin, std::min(kRun, weights.size() - begin));
    for (std::size_t i = 0; i < run.size(); ++i) {
      errors[i] = nearest_in(span, run[i] / grid.step) * grid.step - run[i];
    }
    total += run_error({errors, run.size()}, hessian, first + static_cast<std::int64_t>(begin));
  }
  return total;
}

}  // namespace

QuantizedMatrix quantize_output_clip(std::span<const float> weight, std::int64_t rows,
                                     std::int64_t columns, const QuantScheme& scheme,
                                     MatrixView<const float> hessian, int num_threads) {
  ensure(hessian.rows == columns && hessian.columns == columns, "a Hessian of all columns");
  const GridChoice choose = [&](std::span<const float> weights, std::int64_t first, Range range) {
    Grid best = grid_of(range, 1, scheme);
    double least = group_error(weights, best, scheme, hessian, first);
    for (int percent = kLargestPercent; percent >= kSmallestPercent; percent -= kStridePercent) {
      const Grid grid = grid_of(range, percent / 100.0, scheme);
      const double error = group_error(weights, grid, scheme, hessian, first);
      if (!(error < least)) continue;
      best = grid;
      least = error;
    }
    return best;
  };
  return round_rows(weight, rows, columns, scheme, choose, num_threads);
}

}  // namespace edgecompress
