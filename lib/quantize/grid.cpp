#include "quantize/grid.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace edgecompress {
namespace {

// A smaller step would have a reciprocal beyond float's range.
constexpr float kSmallestStep = std::numeric_limits<float>::min();

// Float bits as integers of the same order, its own inverse. Integer minima vectorize, and an
// infinity or NaN lies outside every finite number.
std::int32_t order_of_bits(std::int32_t bits) { return bits ^ ((bits >> 31) & 0x7FFFFFFF); }
std::int32_t order_of(float value) { return order_of_bits(std::bit_cast<std::int32_t>(value)); }
float value_of(std::int32_t order) { return std::bit_cast<float>(order_of_bits(order)); }

float usable_step(double step) {
  if (step == 0) return 1;  // every weight is 0: its code is right at any scale
  const auto rounded = static_cast<float>(step);
  return std::abs(rounded) < kSmallestStep ? std::copysign(kSmallestStep, rounded) : rounded;
}

// 4 bits: the weight farthest from 0 gets code -8, so that all 16 codes serve; the scale takes its
// sign (ONNX Runtime, MatMulNBits quantizer "DEFAULT"). The step is finer than max|w| / 7.5 by
// 1/16. 8 bits: max|w| / 127. One code less costs nothing there, and weights that already lie on
// such a grid (Q8_0 and most 8-bit checkpoints) stay as they are.
Grid symmetric_grid(Range range, double share, const QuantScheme& scheme) {
  const double extreme = (range.high > -range.low ? range.high : range.low) * share;
  if (scheme.bits == 8) return {usable_step(std::abs(extreme) / scheme.qmax()), 0};
  return {usable_step(extreme / scheme.qmin()), 0};
}

// Step and zero point are rounded to float where torch's quantizers round them. Weights that were
// on a grid before lie half way between two codes by the thousand, and these roundings decide to
// which they go.
Grid asymmetric_grid(Range range, double share, const QuantScheme& scheme) {
  const double low = std::min(range.low, 0.0F) * share;
  const double high = std::max(range.high, 0.0F) * share;
  const double width = high - low;
  const bool fits = width <= std::numeric_limits<float>::max();
  const auto steps = static_cast<float>(scheme.qmax() - scheme.qmin());
  const float step = usable_step(fits ? static_cast<float>(width) / steps : width / steps);
  const auto least = static_cast<float>(scheme.qmin());
  const float zero_point = least - std::nearbyint(static_cast<float>(low) / step);
  return {step, static_cast<std::int32_t>(
                    std::clamp(zero_point, least, static_cast<float>(scheme.qmax())))};
}

/// Sums in an order that the source fixes and the compiler can vectorize.
float sum_of(std::span<const float> values) {
  constexpr std::size_t kLanes = 8;
  std::array<float, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    const float* const value = values.data() + i;
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += value[lane];
  }
  for (; i < values.size(); ++i) sums[0] += values[i];
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

// Without importances large errors weigh more than in a sum of squares (GPTQ's authors' quantizer,
// "mse" with norm 2.4); measured against 2 in docs/numerics.md. With importances the sum stands for
// the output's squared error.
constexpr double kPlainNorm = 2.4;
constexpr double kWeightedNorm = 2;

/// The fifth root of x >= 0 to about 5e-5 of itself: a line through the float's bits, which are a
/// logarithm of it, and two steps of Newton's method. Unlike std::pow, the compiler vectorizes it.
float fifth_root(float x) {
  constexpr std::int32_t kOneBits = 127 << 23;
  constexpr auto kOffset = static_cast<std::int32_t>(0.8 * kOneBits);
  const auto bits = static_cast<float>(std::bit_cast<std::int32_t>(x));
  float root = std::bit_cast<float>(static_cast<std::int32_t>(bits * 0.2F) + kOffset);
  for (int round = 0; round < 2; ++round) {
    const float square = root * root;
    root = 0.8F * root + 0.2F * x / (square * square);
  }
  return root;
}

/// The sum of |rounding error|^norm times importance, in units of step^norm.
double error_sum(std::span<const float> weights, std::span<const float> importances, float step,
                 Span codes) {
  constexpr std::size_t kChunk = 256;  // short enough for sums in float
  const float inverse = 1 / step;
  std::array<float, kChunk> powers;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
  double total = 0;
  for (std::size_t begin = 0; begin < weights.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, weights.size() - begin);
    const float* const weight = weights.data() + begin;
    float* const power = powers.data();
    for (std::size_t i = 0; i < count; ++i) {
      const float steps = weight[i] * inverse;
      const float error = nearest_in(codes, steps) - steps;
      const float square = error * error;
      power[i] = square;
    }
    if (importances.empty()) {
      for (std::size_t i = 0; i < count; ++i) power[i] *= fifth_root(power[i]);
    } else {
      const float* const importance = importances.data() + begin;
      for (std::size_t i = 0; i < count; ++i) power[i] *= importance[i];
    }
    total += sum_of(std::span(powers).first(count));
  }
  return total;
}

/// Keeps the grid with the smallest error; the first of equals.
class BestGrid {
 public:
  BestGrid(std::span<const float> weights, std::span<const float> importances,
           const QuantScheme& scheme, Grid first)
      : weights_(weights),
        importances_(importances),
        scheme_(scheme),
        grid_(first),
        error_(error_of(first)) {}

  void offer(Grid grid) {
    const double error = error_of(grid);
    if (error < error_) {
      grid_ = grid;
      error_ = error;
    }
  }
  Grid grid() const { return grid_; }

 private:
  double error_of(Grid grid) const {
    const double step = std::abs(grid.step);  // of any float, its power is within double's range
    return error_sum(weights_, importances_, grid.step, code_span(scheme_, grid.zero_point)) *
           std::pow(step, importances_.empty() ? kPlainNorm : kWeightedNorm);
  }

  std::span<const float> weights_;
  std::span<const float> importances_;
  const QuantScheme& scheme_;
  Grid grid_;
  double error_;
};

}  // namespace

bool find_range(std::span<const float> weights, Range& range) {
  std::int32_t low = std::numeric_limits<std::int32_t>::max();
  std::int32_t high = std::numeric_limits<std::int32_t>::min();
  const float* const weight = weights.data();
  const std::size_t count = weights.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t order = order_of(weight[i]);
    low = order < low ? order : low;
    high = order > high ? order : high;
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  range = {value_of(low), value_of(high)};
  return low > order_of(-kInfinity) && high < order_of(kInfinity);
}

void refuse_weight(std::span<const float> row, std::int64_t index) {
  const auto bad = std::find_if(row.begin(), row.end(), [](float w) { return !std::isfinite(w); });
  throw Error(ErrorKind::Numeric, "N1",
              concat("weight [", index, ", ", bad - row.begin(), "] is ", *bad,
                     "; quantization needs finite weights. The checkpoint is damaged or its "
                     "training diverged; start from one without it"));
}

Grid grid_of(Range range, double share, const QuantScheme& scheme) {
  return scheme.symmetry == Symmetry::Symmetric ? symmetric_grid(range, share, scheme)
                                                : asymmetric_grid(range, share, scheme);
}

// Tries ranges down to 0.20 of the full one. The full symmetric grid cuts the opposite end by up to
// one step; from 1.14 on it comes within half a step (8/7 = 1.143). Weighted by importance, a wider
// asymmetric grid can pay too: what counts are the inputs that are large.
Grid search_grid(std::span<const float> weights, std::span<const float> importances, Range range,
                 const QuantScheme& scheme) {
  const bool plain_asymmetric = scheme.symmetry == Symmetry::Asymmetric && importances.empty();
  const int largest_percent = plain_asymmetric ? 100 : 114;
  constexpr int kSmallestPercent = 20;
  constexpr int kStridePercent = 2;
  BestGrid best(weights, importances, scheme, grid_of(range, 1, scheme));
  for (int percent = largest_percent; percent >= kSmallestPercent; percent -= kStridePercent) {
    best.offer(grid_of(range, percent / 100.0, scheme));
  }
  return best.grid();
}

}  // namespace edgecompress
