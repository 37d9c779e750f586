#include "prune/least_squares.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <vector>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"
#include "linear_algebra/triangular.h"
#include "stats/damped_hessian.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

MatrixView<double> view_of(const at::Tensor& matrix) {
  return {matrix.data_ptr<double>(), matrix.size(0), matrix.size(1), matrix.size(1)};
}

/// a b in double.
at::Tensor product_of(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor negated = a.to(at::kDouble).neg().contiguous();
  const at::Tensor right = b.contiguous();
  at::Tensor product = at::zeros({a.size(0), b.size(1)}, at::kDouble);
  subtract_product_parallel(view_of(negated), view_of(right), view_of(product),
                            at::get_num_threads());
  return product;
}

void ensure_layer(const at::Tensor& weight, const at::Tensor& hessian) {
  ensure(weight.dim() == 2 && weight.scalar_type() == at::kFloat && weight.device().is_cpu(),
         "a float matrix in main memory");
  ensure(hessian.dim() == 2 && hessian.size(0) == weight.size(1), "a Hessian of all inputs");
}

/// Rows of the mask that are equal lie side by side.
class RowsByPattern {
 public:
  explicit RowsByPattern(const at::Tensor& keep)
      : first_(keep.const_data_ptr<bool>()),
        columns_(static_cast<std::size_t>(keep.size(1))),
        rows_(static_cast<std::size_t>(keep.size(0))) {
    std::iota(rows_.begin(), rows_.end(), 0);
    std::stable_sort(rows_.begin(), rows_.end(), [&](std::size_t a, std::size_t b) {
      return std::memcmp(row(a), row(b), columns_) < 0;
    });
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (i == 0 || std::memcmp(row(rows_[i - 1]), row(rows_[i]), columns_) != 0) {
        starts_.push_back(i);
      }
    }
    starts_.push_back(rows_.size());
  }

  std::int64_t size() const { return static_cast<std::int64_t>(starts_.size()) - 1; }

  std::span<const std::size_t> rows(std::int64_t pattern) const {
    const auto p = static_cast<std::size_t>(pattern);
    return std::span(rows_).subspan(starts_[p], starts_[p + 1] - starts_[p]);
  }

  std::vector<std::int64_t> support(std::int64_t pattern) const {
    const bool* const keep = row(rows(pattern)[0]);
    std::vector<std::int64_t> columns;
    for (std::size_t j = 0; j < columns_; ++j) {
      if (keep[j]) columns.push_back(static_cast<std::int64_t>(j));
    }
    return columns;
  }

 private:
  const bool* row(std::size_t i) const { return first_ + i * columns_; }

  const bool* first_;
  std::size_t columns_;
  std::vector<std::size_t> rows_;
  std::vector<std::size_t> starts_;
};

/// Solves x H_RR = target[:, R] for some rows; false when H_RR is not positive definite.
bool solve_rows(MatrixView<const double> hessian, MatrixView<const double> target,
                std::span<const std::size_t> rows, std::span<const std::int64_t> support,
                MatrixView<float> out) {
  const auto n = static_cast<std::int64_t>(support.size());
  std::vector<double> normal(support.size() * support.size());
  const MatrixView<double> factor{normal.data(), n, n, n};
  for (std::int64_t i = 0; i < n; ++i) {
    const double* const row = hessian.row(support[static_cast<std::size_t>(i)]);
    for (std::int64_t j = 0; j <= i; ++j) {
      factor.row(i)[j] = row[support[static_cast<std::size_t>(j)]];
    }
  }
  if (!factor_cholesky(factor, 1)) return false;
  std::vector<double> solution(support.size());
  for (const std::size_t row : rows) {
    const auto r = static_cast<std::int64_t>(row);
    for (std::size_t i = 0; i < support.size(); ++i) solution[i] = target.row(r)[support[i]];
    solve_cholesky(factor, solution.data());
    for (std::size_t i = 0; i < support.size(); ++i) {
      out.row(r)[support[i]] = static_cast<float>(solution[i]);
    }
  }
  return true;
}

}  // namespace

std::optional<at::Tensor> least_squares_on_support(const at::Tensor& weight,
                                                   const at::Tensor& hessian,
                                                   const at::Tensor& keep, double damping) {
  ensure_layer(weight, hessian);
  ensure(keep.scalar_type() == at::kBool && keep.sizes() == weight.sizes() && keep.is_contiguous(),
         "a bool mask of the weight's shape");
  const at::Tensor damped = damp(hessian, damping).matrix;
  const at::Tensor target = product_of(weight, damped);
  at::Tensor result = at::zeros(weight.sizes(), at::kFloat);
  const MatrixView<float> out{result.mutable_data_ptr<float>(), weight.size(0), weight.size(1),
                              weight.size(1)};
  const RowsByPattern patterns(keep);
  std::atomic<bool> solved{true};
  parallel_for(patterns.size(), 1, at::get_num_threads(), [&](std::int64_t pattern, std::int64_t) {
    if (!solved) return;
    const std::vector<std::int64_t> support = patterns.support(pattern);
    if (!solve_rows(view_of(damped), view_of(target), patterns.rows(pattern), support, out)) {
      solved = false;
    }
  });
  return solved ? std::optional(result) : std::nullopt;
}

std::optional<at::Tensor> least_squares_for_outputs(const at::Tensor& weight,
                                                    const at::Tensor& hessian,
                                                    const at::Tensor& outputs, double damping) {
  ensure_layer(weight, hessian);
  ensure(outputs.sizes() == weight.sizes() && outputs.scalar_type() == at::kDouble,
         "double moments of the weight's shape");
  at::Tensor inverse = damp(hessian, damping).matrix;
  const int num_threads = at::get_num_threads();
  if (!factor_cholesky(view_of(inverse), num_threads)) return std::nullopt;
  invert_lower(view_of(inverse), num_threads);  // X, (H + damping)^-1 = X^T X
  const at::Tensor missing = outputs - product_of(weight, hessian);
  const at::Tensor change = product_of(product_of(missing, inverse.t()), inverse);
  return (weight.to(at::kDouble) + change).to(at::kFloat);
}

std::optional<at::Tensor> least_squares_columns(const at::Tensor& weight, const at::Tensor& hessian,
                                                std::span<const std::int64_t> kept,
                                                double damping) {
  ensure_layer(weight, hessian);
  at::Tensor index = at::empty({static_cast<std::int64_t>(kept.size())}, at::kLong);
  std::copy(kept.begin(), kept.end(), index.mutable_data_ptr<std::int64_t>());
  const at::Tensor beside = damp(hessian, damping).matrix.index_select(1, index);  // H[:, R]
  at::Tensor inverse = beside.index_select(0, index).contiguous();                 // H_RR
  const int num_threads = at::get_num_threads();
  if (!factor_cholesky(view_of(inverse), num_threads)) return std::nullopt;
  invert_lower(view_of(inverse), num_threads);  // X, H_RR^-1 = X^T X
  const at::Tensor half = product_of(product_of(weight, beside), inverse.t());
  return product_of(half, inverse).to(at::kFloat);
}

}  // namespace edgecompress
