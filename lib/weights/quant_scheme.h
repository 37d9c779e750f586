#pragma once

#include <compare>
#include <cstdint>

namespace edgecompress {

/// Whether a grid is centred on zero.
enum class Symmetry { Symmetric, Asymmetric };

/// real = scale * (code - zero_point)                                        (ONNX
/// DequantizeLinear) code = clamp(round(real / scale) + zero_point, qmin(), qmax())
///
/// Codes are signed: [-2^(bits-1), 2^(bits-1) - 1]. zero_point is 0 when symmetric, otherwise a
/// code, so that a weight of exactly 0 stays exactly 0 on every grid. A scale is never 0 and may be
/// negative (ONNX Runtime's symmetric quantizer uses the sign to reach the whole grid).
struct QuantScheme {
  int bits = 8;  ///< 4 or 8
  std::int64_t group_size =
      0;  ///< elements along in_features that share a scale; 0: the whole row (per channel)
  Symmetry symmetry = Symmetry::Symmetric;

  constexpr std::int32_t qmin() const { return -(1 << (bits - 1)); }
  constexpr std::int32_t qmax() const { return (1 << (bits - 1)) - 1; }

  /// Elements that share a scale in a row of `in_features`.
  constexpr std::int64_t group_length(std::int64_t in_features) const {
    return group_size == 0 ? in_features : group_size;
  }
  /// Scales in a row; the last group may be short.
  constexpr std::int64_t groups_per_row(std::int64_t in_features) const {
    const std::int64_t length = group_length(in_features);
    return (in_features + length - 1) / length;
  }
  friend bool operator==(const QuantScheme&, const QuantScheme&) = default;
};

}  // namespace edgecompress
