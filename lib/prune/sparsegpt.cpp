#include "prune/sparsegpt.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Parallel.h>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

// Columns whose weights compete and whose errors reach the columns behind them in one product.
constexpr std::int64_t kBlock = 128;
constexpr std::int64_t kTileRows = 48;

/// Some columns of the matrix.
struct Columns {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t width() const { return end - begin; }
};

struct Matrix {
  MatrixView<float> weight;  // what the columns before have left
  MatrixView<bool> keep;
  MatrixView<const float> factor;
  std::vector<double> inverse_pivot;  // 1 / U_jj^2; 0 for an input that was always 0

  double score(std::int64_t row, std::int64_t column) const {
    const double w = weight.row(row)[column];
    return w * w * inverse_pivot[static_cast<std::size_t>(column)];
  }
};

/// Calls drop(i) for the `count` smallest scores, the later ones of equals.
template <typename Drop>
void drop_smallest(const std::vector<double>& scores, std::int64_t count, const Drop& drop) {
  std::vector<std::int64_t> order(scores.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
  const auto smaller = [&](std::int64_t a, std::int64_t b) {
    const double left = scores[static_cast<std::size_t>(a)];
    const double right = scores[static_cast<std::size_t>(b)];
    return left != right ? left < right : a > b;
  };
  std::nth_element(order.begin(), order.begin() + count, order.end(), smaller);
  std::for_each(order.begin(), order.begin() + count, drop);
}

/// Of `sparsity` times all candidates (half to even), those that fall to [begin, end): whatever the
/// blocks, they add up to the exact number.
std::int64_t share_of(double sparsity, std::int64_t begin, std::int64_t end) {
  ensure(sparsity >= 0 && sparsity <= 1, "a sparsity of 0 to 1");
  return std::llrint(sparsity * static_cast<double>(end)) -
         std::llrint(sparsity * static_cast<double>(begin));
}

/// Columns of one competition; whole runs and whole tiles.
struct BlockWidth {
  std::int64_t operator()(const NofM& pattern) const { return whole(pattern.of); }
  std::int64_t operator()(const Blocks& pattern) const { return whole(pattern.columns); }
  template <typename Other>
  std::int64_t operator()(const Other&) const {
    return kBlock;
  }
  static std::int64_t whole(std::int64_t unit) {
    return std::max(kBlock / unit, INT64_C(1)) * unit;
  }
};

/// Writes the mask of a block of columns before its first column is processed. NofM waits for the
/// run's first column.
struct MaskWriter {
  const Matrix& matrix;
  Columns columns;
  int num_threads;

  void operator()(const Unstructured& pattern) const {
    const std::int64_t rows = matrix.weight.rows;
    std::vector<double> scores;
    scores.reserve(static_cast<std::size_t>(rows * columns.width()));
    for (std::int64_t row = 0; row < rows; ++row) append_scores(row, scores);
    const std::int64_t drop = share_of(pattern.sparsity, rows * columns.begin, rows * columns.end);
    drop_smallest(scores, drop, [&](std::int64_t i) {
      matrix.keep.row(i / columns.width())[columns.begin + i % columns.width()] = false;
    });
  }

  void operator()(const PerRow& pattern) const {
    const std::int64_t drop = share_of(pattern.sparsity, columns.begin, columns.end);
    parallel_for(matrix.weight.rows, kTileRows, num_threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   std::vector<double> scores;
                   for (std::int64_t row = begin; row < end; ++row) {
                     scores.clear();
                     append_scores(row, scores);
                     bool* const keep = matrix.keep.row(row) + columns.begin;
                     drop_smallest(scores, drop, [&](std::int64_t i) { keep[i] = false; });
                   }
                 });
  }

  void operator()(const NofM&) const {}

  void operator()(const Blocks& pattern) const {
    const std::int64_t first = columns.begin / pattern.columns;
    const std::int64_t last = ceil_divide(columns.end, pattern.columns);
    const std::int64_t drop = share_of(pattern.sparsity, first, last);
    for (std::int64_t begin = 0; begin < matrix.weight.rows; begin += pattern.rows) {
      const std::int64_t end = std::min(begin + pattern.rows, matrix.weight.rows);
      std::vector<double> scores(static_cast<std::size_t>(last - first));
      for (std::int64_t row = begin; row < end; ++row) {
        for (std::int64_t j = columns.begin; j < columns.end; ++j) {
          scores[static_cast<std::size_t>(j / pattern.columns - first)] += matrix.score(row, j);
        }
      }
      drop_smallest(scores, drop, [&](std::int64_t tile) {
        const std::int64_t left = (first + tile) * pattern.columns;
        const std::int64_t right = std::min(left + pattern.columns, columns.end);
        for (std::int64_t row = begin; row < end; ++row) {
          std::fill(matrix.keep.row(row) + left, matrix.keep.row(row) + right, false);
        }
      });
    }
  }

 private:
  void append_scores(std::int64_t row, std::vector<double>& scores) const {
    for (std::int64_t j = columns.begin; j < columns.end; ++j) {
      scores.push_back(matrix.score(row, j));
    }
  }
};

void choose_run(const Matrix& matrix, std::int64_t row, std::int64_t column, const NofM& runs) {
  std::vector<double> scores;
  for (std::int64_t j = column; j < column + runs.of; ++j) scores.push_back(matrix.score(row, j));
  bool* const keep = matrix.keep.row(row) + column;
  drop_smallest(scores, runs.of - runs.keep, [&](std::int64_t i) { keep[i] = false; });
}

/// Drops a row's weights of a block and compensates inside the block. errors: [width], for the
/// columns behind it. Returns the sum of their squares.
double drop_in_row(const Matrix& matrix, std::int64_t row, Columns columns, const NofM* runs,
                   float* errors) {
  float* const weight = matrix.weight.row(row);
  const bool* const keep = matrix.keep.row(row);
  double sum = 0;
  for (std::int64_t i = columns.begin; i < columns.end; ++i) {
    if (runs != nullptr && i % runs->of == 0) choose_run(matrix, row, i, *runs);
    float& error = errors[i - columns.begin];
    error = 0;
    if (keep[i]) continue;
    const float* const factor = matrix.factor.row(i);
    error = weight[i] / factor[i];
    subtract_multiple(error, factor + i + 1, weight + i + 1, columns.end - i - 1);
    weight[i] = 0;
    sum += static_cast<double>(error) * error;
  }
  return sum;
}

/// Returns the sum of squared errors of each row.
void drop_in_rows(const Matrix& matrix, Columns columns, const NofM* runs, int num_threads,
                  std::vector<double>& row_errors) {
  const std::int64_t behind = matrix.weight.columns - columns.end;
  parallel_for(matrix.weight.rows, kTileRows, num_threads,
               [&](std::int64_t begin, std::int64_t end) {
                 const std::int64_t rows = end - begin;
                 std::vector<float> errors(static_cast<std::size_t>(rows * columns.width()));
                 for (std::int64_t row = begin; row < end; ++row) {
                   row_errors[static_cast<std::size_t>(row)] += drop_in_row(
                       matrix, row, columns, runs, errors.data() + (row - begin) * columns.width());
                 }
                 if (behind == 0) return;
                 subtract_product(
                     MatrixView<const float>{errors.data(), rows, columns.width(), columns.width()},
                     matrix.factor.part(columns.begin, columns.width(), columns.end, behind),
                     matrix.weight.part(begin, rows, columns.end, behind));
               });
}

std::vector<double> inverse_pivots(const InverseFactor& factor) {
  const std::int64_t columns = factor.upper.size(0);
  const float* const first = factor.upper.const_data_ptr<float>();
  std::vector<double> result(static_cast<std::size_t>(columns));
  for (std::int64_t j = 0; j < columns; ++j) {
    const double pivot = first[j * (columns + 1)];
    result[static_cast<std::size_t>(j)] = 1 / (pivot * pivot);
  }
  for (const std::int64_t dead : factor.dead_columns) result[static_cast<std::size_t>(dead)] = 0;
  return result;
}

void check(const at::Tensor& weight, const InverseFactor& factor, const NofM* runs) {
  ensure(weight.dim() == 2 && weight.scalar_type() == at::kFloat && weight.device().is_cpu(),
         "a float matrix in main memory");
  const std::int64_t columns = weight.size(1);
  ensure(factor.upper.size(0) == columns && factor.upper.is_contiguous() &&
             factor.order == natural_order(columns),
         "a factor of all columns in natural order");
  if (runs != nullptr) {
    ensure(runs->of > 0 && runs->keep >= 0 && runs->keep <= runs->of, "0 <= N <= M");
    if (columns % runs->of != 0) {
      throw Error(ErrorKind::Unsupported, "U1",
                  concat(runs->keep, ":", runs->of, " needs rows of a multiple of ", runs->of,
                         " weights, this matrix has ", columns,
                         "; choose another pattern or except the module"));
    }
  }
  if (!at::isfinite(weight).all().item<bool>()) {
    throw Error(ErrorKind::Numeric, "N1",
                "a weight is not finite; a mask needs finite weights. The checkpoint is damaged or "
                "its training diverged; start from one without it");
  }
}

}  // namespace

SparseWeight sparsegpt(const at::Tensor& weight, const InverseFactor& factor,
                       const SparsityPattern& pattern) {
  const auto* const runs = std::get_if<NofM>(&pattern);
  check(weight, factor, runs);
  const std::int64_t rows = weight.size(0);
  const std::int64_t columns = weight.size(1);
  SparseWeight result{at::ones({rows, columns}, at::kBool),
                      weight.clone(at::MemoryFormat::Contiguous), 0};
  const Matrix matrix{{result.weight.mutable_data_ptr<float>(), rows, columns, columns},
                      {result.keep.mutable_data_ptr<bool>(), rows, columns, columns},
                      {factor.upper.const_data_ptr<float>(), columns, columns, columns},
                      inverse_pivots(factor)};
  const int num_threads = at::get_num_threads();
  const std::int64_t width = std::visit(BlockWidth{}, pattern);
  std::vector<double> row_errors(static_cast<std::size_t>(rows));
  for (std::int64_t begin = 0; begin < columns; begin += width) {
    const Columns block{begin, std::min(begin + width, columns)};
    std::visit(MaskWriter{matrix, block, num_threads}, pattern);
    drop_in_rows(matrix, block, runs, num_threads, row_errors);
  }
  for (const double error : row_errors) result.output_error += error;
  return result;
}

}  // namespace edgecompress
