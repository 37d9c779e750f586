#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weights/quant_scheme.h"

namespace edgecompress {

/// A weight [out_features, in_features] on an integer grid, or some of its rows.
///
/// Invariants, checked at construction: codes has rows * columns entries, all within the scheme's
/// grid; scales has rows * groups_per_row(columns) entries, finite and not 0; zero_points is empty
/// when symmetric, otherwise as long as scales and within the grid.
class QuantizedMatrix {
 public:
  QuantizedMatrix(std::int64_t rows, std::int64_t columns, QuantScheme scheme,
                  std::vector<std::int8_t> codes, std::vector<float> scales,
                  std::vector<std::int8_t> zero_points);

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  const QuantScheme& scheme() const { return scheme_; }
  std::span<const std::int8_t> codes() const { return codes_; }  ///< [rows, columns], row-major
  std::span<const float> scales() const { return scales_; }      ///< [rows, groups]
  std::span<const std::int8_t> zero_points() const {
    return zero_points_;
  }  ///< [rows, groups] or empty

  /// Writes the real values of rows [begin, end) to `out`, [end - begin, columns] row-major.
  void dequantize_rows(std::int64_t begin, std::int64_t end, std::span<float> out) const;

  /// Weights whose real value is 0.
  std::int64_t count_zeros() const;

 private:
  std::int64_t rows_;
  std::int64_t columns_;
  QuantScheme scheme_;
  std::vector<std::int8_t> codes_;
  std::vector<float> scales_;
  std::vector<std::int8_t> zero_points_;
};

}  // namespace edgecompress
