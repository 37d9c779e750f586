#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace edgecompress {

/// Returns a * b, or nothing when it does not fit.
inline std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Returns a + b, or nothing when it does not fit.
inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// Returns ceil(a / b); b > 0.
constexpr std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Returns the smallest multiple of `step` (> 0) that is at least `value` (>= 0).
constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return ceil_divide(value, step) * step;
}

}  // namespace edgecompress
