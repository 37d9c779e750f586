#include "quantize/hqq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "quantize/grid.h"
#include "quantize/nearest_rows.h"

namespace edgecompress {
namespace {

// The weight of the outliers' norm, as a share of a step: an error of half a step is an outlier by
// 0.22 of a step, one below a third of a step is none. It falls a little with every iteration.
constexpr float kFirstShrinkage = 0.2F;
constexpr float kShrinkageFactor = 1 / 1.01F;

/// One group on its way: which codes it has on a grid, and which grid fits them.
class GroupFit {
 public:
  GroupFit(std::span<const float> weights, const QuantScheme& scheme)
      : weights_(weights), scheme_(scheme), codes_(weights.size()), targets_(weights.size()) {}

  /// Rounds to a grid and sets the targets to the weights without their outlying errors. Returns
  /// the squared error of the rounding.
  double round_to(Grid grid, float shrinkage) {
    const Span span = code_span(scheme_, grid.zero_point);
    double error = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const float steps = weights_[i] / grid.step;
      const float code = nearest_in(span, steps);
      const float off = steps - code;
      const float size = std::abs(off);
      // The proximal step of |x|^(1/2) as HQQ approximates it: |x| - shrinkage |x|^(-1/2).
      const float shrunk = size > 0 ? size - shrinkage / std::sqrt(size) : 0.0F;
      const float outlying = shrunk > 0 ? std::copysign(shrunk, off) : 0.0F;
      codes_[i] = code;
      targets_[i] = (steps - outlying) * grid.step;
      const double moved = static_cast<double>(off) * grid.step;
      error += moved * moved;
    }
    return error;
  }

  /// The grid that fits the targets of the present codes best.
  Grid fitted(Grid grid) const {
    const std::int32_t zero_point =
        scheme_.symmetry == Symmetry::Symmetric ? 0 : fitted_zero_point(grid);
    const auto shift = static_cast<float>(grid.zero_point - zero_point);
    double product = 0;
    double square = 0;
    for (std::size_t i = 0; i < codes_.size(); ++i) {
      const double code = static_cast<double>(codes_[i]) + shift;
      product += code * targets_[i];
      square += code * code;
    }
    const auto step = static_cast<float>(product / square);
    const bool usable = std::isnormal(step) && (step > 0) == (grid.step > 0);
    return {usable ? step : grid.step, zero_point};
  }

 private:
  /// The code of 0 on the line through the targets over the codes.
  std::int32_t fitted_zero_point(Grid grid) const {
    double code_sum = 0;
    double target_sum = 0;
    double code_square = 0;
    double product = 0;
    for (std::size_t i = 0; i < codes_.size(); ++i) {
      const double code = codes_[i];
      const double target = targets_[i];
      code_sum += code;
      target_sum += target;
      code_square += code * code;
      product += code * target;
    }
    const auto count = static_cast<double>(codes_.size());
    const double slope =
        (count * product - code_sum * target_sum) / (count * code_square - code_sum * code_sum);
    const double zero = grid.zero_point + (code_sum - target_sum / slope) / count;
    if (!(slope > 0) || !std::isfinite(zero)) return grid.zero_point;  // all codes are alike
    return static_cast<std::int32_t>(std::nearbyint(std::clamp(
        zero, static_cast<double>(scheme_.qmin()), static_cast<double>(scheme_.qmax()))));
  }

  std::span<const float> weights_;
  const QuantScheme& scheme_;
  std::vector<float> codes_;    // from the zero point
  std::vector<float> targets_;  // the weights without outlying errors
};

Grid hqq_grid(std::span<const float> weights, Range range, const QuantScheme& scheme,
              const HqqOptions& options) {
  GroupFit fit(weights, scheme);
  Grid grid = grid_of(range, 1, scheme);
  Grid best = grid;
  double best_error = std::numeric_limits<double>::infinity();
  float shrinkage = kFirstShrinkage;
  for (int i = 0; i <= options.iterations; ++i) {
    const double error = fit.round_to(grid, shrinkage);
    if (error < best_error) {
      best = grid;
      best_error = error;
    }
    grid = fit.fitted(grid);
    shrinkage *= kShrinkageFactor;
  }
  return best;
}

}  // namespace

QuantizedMatrix quantize_hqq(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                             const QuantScheme& scheme, const HqqOptions& options,
                             int num_threads) {
  return round_rows(
      weight, rows, columns, scheme,
      [&](std::span<const float> weights, std::int64_t, Range range) {
        return hqq_grid(weights, range, scheme, options);
      },
      num_threads);
}

}  // namespace edgecompress
