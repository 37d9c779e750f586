#include "linear_algebra/triangular.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"

namespace edgecompress {
namespace {

// Rows of a diagonal block, which is factored by plain loops; the rest is products.
constexpr std::int64_t kBlock = 64;
// Columns of an inverse that one thread computes at a time.
constexpr std::int64_t kInverseColumns = 256;

/// A contiguous matrix of its own.
class Buffer {
 public:
  Buffer(std::int64_t rows, std::int64_t columns)
      : values_(static_cast<std::size_t>(rows * columns)), rows_(rows), columns_(columns) {}

  MatrixView<double> view() { return {values_.data(), rows_, columns_, columns_}; }

 private:
  std::vector<double> values_;
  std::int64_t rows_;
  std::int64_t columns_;
};

Buffer copy_of(MatrixView<const double> matrix) {
  Buffer buffer(matrix.rows, matrix.columns);
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    std::copy_n(matrix.row(i), matrix.columns, buffer.view().row(i));
  }
  return buffer;
}

Buffer transpose_of(MatrixView<const double> matrix) {
  Buffer buffer(matrix.columns, matrix.rows);
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    for (std::int64_t j = 0; j < matrix.columns; ++j) buffer.view().row(j)[i] = matrix.row(i)[j];
  }
  return buffer;
}

void set_zero(MatrixView<double> matrix) {
  for (std::int64_t i = 0; i < matrix.rows; ++i) std::fill_n(matrix.row(i), matrix.columns, 0.0);
}

bool factor_block(MatrixView<double> a) {
  std::vector<double> column(static_cast<std::size_t>(a.rows));
  double* const scaled = column.data();
  for (std::int64_t k = 0; k < a.rows; ++k) {
    const double pivot = std::sqrt(a.row(k)[k]);
    if (!(pivot > 0 && std::isfinite(pivot))) return false;
    a.row(k)[k] = pivot;
    std::fill(a.row(k) + k + 1, a.row(k) + a.rows, 0.0);
    for (std::int64_t i = k + 1; i < a.rows; ++i) scaled[i] = a.row(i)[k] /= pivot;
    for (std::int64_t i = k + 1; i < a.rows; ++i) {
      double* const row = a.row(i);
      const double factor = scaled[i];
      for (std::int64_t j = k + 1; j <= i; ++j) row[j] -= factor * scaled[j];
    }
  }
  return true;
}

/// Inverts a lower triangular block in place, from the top row down.
void invert_block(MatrixView<double> a) {
  std::vector<double> inverse(static_cast<std::size_t>(a.rows));
  double* const sum = inverse.data();
  for (std::int64_t i = 0; i < a.rows; ++i) {
    std::fill(inverse.begin(), inverse.end(), 0.0);
    double* const row = a.row(i);
    for (std::int64_t k = 0; k < i; ++k) {
      const double* const above = a.row(k);  // already inverted
      for (std::int64_t j = 0; j <= k; ++j) sum[j] -= row[k] * above[j];
    }
    sum[i] = 1;
    const double pivot = row[i];
    for (std::int64_t j = 0; j <= i; ++j) row[j] = sum[j] / pivot;
  }
}

void negate(MatrixView<double> matrix) {
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    double* const row = matrix.row(i);
    for (std::int64_t j = 0; j < matrix.columns; ++j) row[j] = -row[j];
  }
}

}  // namespace

bool factor_cholesky(MatrixView<double> matrix, int num_threads) {
  const std::int64_t n = matrix.rows;
  ensure(n == matrix.columns, "a square matrix");
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t width = std::min(kBlock, n - begin);
    const std::int64_t below = n - begin - width;
    const MatrixView<double> corner = matrix.part(begin, width, begin, width);
    if (begin > 0) {
      const MatrixView<double> left = matrix.part(begin, n - begin, 0, begin);
      Buffer transposed = transpose_of(left.part(0, width, 0, begin));
      subtract_product_parallel(left, transposed.view(),
                                matrix.part(begin, n - begin, begin, width), num_threads);
      set_zero(matrix.part(0, begin, begin, width));
    }
    if (!factor_block(corner)) return false;
    if (below == 0) break;
    Buffer inverse = copy_of(corner);
    invert_block(inverse.view());
    negate(inverse.view());
    Buffer factor = transpose_of(inverse.view());
    const MatrixView<double> panel = matrix.part(begin + width, below, begin, width);
    Buffer before = copy_of(panel);
    set_zero(panel);
    subtract_product_parallel(before.view(), factor.view(), panel, num_threads);
  }
  return true;
}

void invert_lower(MatrixView<double> matrix, int num_threads) {
  const std::int64_t n = matrix.rows;
  ensure(n == matrix.columns, "a square matrix");
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t width = std::min(kBlock, n - begin);
    const MatrixView<double> corner = matrix.part(begin, width, begin, width);
    invert_block(corner);
    if (begin == 0) continue;
    // X_ij = -X_ii sum_k L_ik X_kj, with the rows above already inverted.
    Buffer rows = copy_of(matrix.part(begin, width, 0, begin));
    set_zero(matrix.part(begin, width, 0, begin));
    parallel_for(begin, kInverseColumns, num_threads, [&](std::int64_t left, std::int64_t right) {
      const MatrixView<double> out = matrix.part(begin, width, left, right - left);
      const MatrixView<double> known = matrix.part(left, begin - left, left, right - left);
      subtract_product(rows.view().part(0, width, left, begin - left), known, out);
      Buffer sum = copy_of(out);  // -sum_k L_ik X_kj
      negate(sum.view());
      set_zero(out);
      subtract_product(corner, sum.view(), out);
    });
  }
}

void solve_cholesky(MatrixView<const double> factor, double* x) {
  const std::int64_t n = factor.rows;
  for (std::int64_t i = 0; i < n; ++i) {
    const double* const row = factor.row(i);
    double sum = x[i];
    for (std::int64_t k = 0; k < i; ++k) sum -= row[k] * x[k];
    x[i] = sum / row[i];
  }
  for (std::int64_t i = n - 1; i >= 0; --i) {
    const double* const row = factor.row(i);
    const double value = x[i] /= row[i];
    for (std::int64_t k = 0; k < i; ++k) x[k] -= row[k] * value;
  }
}

}  // namespace edgecompress
