#include "quantize/rtn.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"

namespace edgecompress {
namespace {

// A smaller step would have a reciprocal beyond float's range.
constexpr float kSmallestStep = std::numeric_limits<float>::min();

// Added to |x| < 2^22, it leaves x rounded half to even in the low bits of the sum. Unlike
// std::nearbyint, the compiler can vectorize it for every x86-64 and AArch64.
constexpr float kRoundingBias = 0x1.8p23F;

// Weights that are worth one hand-over to a thread.
constexpr std::int64_t kWeightsPerPiece = 1 << 16;

struct Range {
  float low;
  float high;
};

struct Grid {
  float step;
  std::int32_t zero_point;
};

/// The distances of the outermost codes from the zero point, in steps.
struct Span {
  float low;
  float high;
};

Span code_span(const QuantScheme& scheme, std::int32_t zero_point) {
  return {static_cast<float>(scheme.qmin() - zero_point),
          static_cast<float>(scheme.qmax() - zero_point)};
}

// Float bits as integers of the same order, its own inverse. Integer minima vectorize, and an
// infinity or NaN lies outside every finite number.
std::int32_t order_of_bits(std::int32_t bits) { return bits ^ ((bits >> 31) & 0x7FFFFFFF); }
std::int32_t order_of(float value) { return order_of_bits(std::bit_cast<std::int32_t>(value)); }
float value_of(std::int32_t order) { return std::bit_cast<float>(order_of_bits(order)); }

/// Returns the smallest and largest weight; false when one is not finite.
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

Grid asymmetric_grid(Range range, double share, const QuantScheme& scheme) {
  const double low = std::min(range.low, 0.0F) * share;
  const double high = std::max(range.high, 0.0F) * share;
  const float step = usable_step((high - low) / (scheme.qmax() - scheme.qmin()));
  const double zero_point = scheme.qmin() - low / step;
  return {step, static_cast<std::int32_t>(
                    std::nearbyint(std::clamp<double>(zero_point, scheme.qmin(), scheme.qmax())))};
}

/// Returns the grid of `share` of the range.
Grid grid_of(Range range, double share, const QuantScheme& scheme) {
  return scheme.symmetry == Symmetry::Symmetric ? symmetric_grid(range, share, scheme)
                                                : asymmetric_grid(range, share, scheme);
}

float nearest_in(Span codes, float steps) {
  const float low = steps < codes.low ? codes.low : steps;
  const float inside = low > codes.high ? codes.high : low;
  return (inside + kRoundingBias) - kRoundingBias;
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

/// The sum of the squared rounding errors, in units of the squared step.
double squared_error(std::span<const float> weights, float step, Span codes) {
  constexpr std::size_t kChunk = 256;  // short enough for sums in float
  const float inverse = 1 / step;
  std::array<float, kChunk> squares;
  double total = 0;
  for (std::size_t begin = 0; begin < weights.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, weights.size() - begin);
    const float* const weight = weights.data() + begin;
    float* const square = squares.data();
    for (std::size_t i = 0; i < count; ++i) {
      const float steps = weight[i] * inverse;
      const float error = nearest_in(codes, steps) - steps;
      square[i] = error * error;
    }
    total += sum_of(std::span(squares).first(count));
  }
  return total;
}

/// Keeps the grid with the smallest squared error; the first of equals.
class BestGrid {
 public:
  BestGrid(std::span<const float> weights, const QuantScheme& scheme, Grid first)
      : weights_(weights), scheme_(scheme), grid_(first), error_(error_of(first)) {}

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
    const double step = grid.step;  // of any float, its square is within double's range
    return squared_error(weights_, grid.step, code_span(scheme_, grid.zero_point)) * step * step;
  }

  std::span<const float> weights_;
  const QuantScheme& scheme_;
  Grid grid_;
  double error_;
};

// Tries ranges of 1.14 to 0.20 of the full one. Above 1 the opposite end, which the full symmetric
// grid cuts by up to one step, comes within half a step (8/7 = 1.143).
Grid search_grid(std::span<const float> weights, Range range, const QuantScheme& scheme) {
  constexpr int kLargestPercent = 114;
  constexpr int kSmallestPercent = 20;
  constexpr int kStridePercent = 2;
  BestGrid best(weights, scheme, grid_of(range, 1, scheme));
  for (int percent = kLargestPercent; percent >= kSmallestPercent; percent -= kStridePercent) {
    best.offer(grid_of(range, percent / 100.0, scheme));
  }
  return best.grid();
}

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
bool quantize_row(std::span<const float> row, const QuantScheme& scheme, const RtnOptions& options,
                  const RowOutput& out) {
  const auto columns = static_cast<std::int64_t>(row.size());
  const auto length = static_cast<std::size_t>(scheme.group_length(columns));
  for (std::size_t begin = 0, group = 0; begin < row.size(); begin += length, ++group) {
    const auto weights = row.subspan(begin, std::min(length, row.size() - begin));
    Range range{};
    if (!find_range(weights, range)) return false;
    const Grid grid = options.clip == ClipSearch::WeightError ? search_grid(weights, range, scheme)
                                                              : grid_of(range, 1, scheme);
    out.scales[group] = grid.step;
    if (out.zero_points != nullptr)
      out.zero_points[group] = static_cast<std::int8_t>(grid.zero_point);
    encode(weights, grid, scheme, out.codes + begin);
  }
  return true;
}

[[noreturn]] void refuse_row(std::span<const float> row, std::int64_t index) {
  const auto bad = std::find_if(row.begin(), row.end(), [](float w) { return !std::isfinite(w); });
  throw Error(ErrorKind::Numeric, "N1",
              concat("weight [", index, ", ", bad - row.begin(), "] is ", *bad,
                     "; quantization needs finite weights. The checkpoint is damaged or its "
                     "training diverged; start from one without it"));
}

void lower_to(std::atomic<std::int64_t>& least, std::int64_t value) {
  std::int64_t seen = least.load();
  while (value < seen && !least.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace

QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                             const QuantScheme& scheme, const RtnOptions& options,
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
      if (!quantize_row(row_of(row), scheme, options, out)) lower_to(first_refused, row);
    }
  });
  if (first_refused < rows) refuse_row(row_of(first_refused), first_refused);
  return {rows, columns, scheme, std::move(codes), std::move(scales), std::move(zero_points)};
}

}  // namespace edgecompress
