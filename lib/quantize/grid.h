#pragma once

#include <cstdint>
#include <span>

#include "weights/quant_scheme.h"

namespace edgecompress {

// The grids that rounding methods share. Values: rtn.h.

// Added to |x| < 2^22, it leaves x rounded half to even in the low bits of the sum. Unlike
// std::nearbyint, the compiler can vectorize it for every x86-64 and AArch64.
constexpr float kRoundingBias = 0x1.8p23F;

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

inline Span code_span(const QuantScheme& scheme, std::int32_t zero_point) {
  return {static_cast<float>(scheme.qmin() - zero_point),
          static_cast<float>(scheme.qmax() - zero_point)};
}

/// Rounds a weight in steps to the nearest code, counted from the zero point; halves to even.
inline float nearest_in(Span codes, float steps) {
  const float low = steps < codes.low ? codes.low : steps;
  const float inside = low > codes.high ? codes.high : low;
  return (inside + kRoundingBias) - kRoundingBias;
}

/// Returns the smallest and largest weight; false when one is not finite.
bool find_range(std::span<const float> weights, Range& range);

/// Throws Error{Numeric} naming the first weight of a row that is not finite.
[[noreturn]] void refuse_weight(std::span<const float> row, std::int64_t index);

/// Returns the grid of `share` of the range.
Grid grid_of(Range range, double share, const QuantScheme& scheme);

/// Returns the grid with the smallest sum of |rounding error|^2.4, or with importances of its
/// square times importance. importances: as many as weights, or none when all are alike.
Grid search_grid(std::span<const float> weights, std::span<const float> importances, Range range,
                 const QuantScheme& scheme);

}  // namespace edgecompress
