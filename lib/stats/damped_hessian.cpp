#include "stats/damped_hessian.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"
#include "linear_algebra/triangular.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::array<double, 5> kRungs{1, 2, 5, 10, 100};
// Rows that one thread copies at a time.
constexpr std::int64_t kPermutedRows = 16;

void ensure_hessian(const at::Tensor& hessian) {
  ensure(hessian.dim() == 2 && hessian.size(0) == hessian.size(1) && hessian.is_contiguous() &&
             hessian.scalar_type() == at::kDouble && hessian.device().is_cpu(),
         "a square double Hessian in main memory");
}

MatrixView<double> view_of(const at::Tensor& matrix) {
  return {matrix.data_ptr<double>(), matrix.size(0), matrix.size(1), matrix.size(1)};
}

/// The diagonal of a Hessian that can be inverted.
struct DampedDiagonal {
  std::vector<double> values;
  double added;
  std::vector<std::int64_t> dead_columns;
};

DampedDiagonal damped_diagonal(const at::Tensor& hessian, double damping) {
  ensure(damping >= 0, "a damping of at least 0");
  const std::int64_t n = hessian.size(0);
  const double* const first = hessian.const_data_ptr<double>();
  DampedDiagonal diagonal{std::vector<double>(static_cast<std::size_t>(n)), 0, {}};
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double square = first[i * (n + 1)];
    diagonal.values[static_cast<std::size_t>(i)] = square;
    sum += square;
    if (square == 0) diagonal.dead_columns.push_back(i);
  }
  const auto live = n - static_cast<std::int64_t>(diagonal.dead_columns.size());
  const double mean = live == 0 ? 1 : sum / static_cast<double>(live);
  for (const std::int64_t column : diagonal.dead_columns) {
    diagonal.values[static_cast<std::size_t>(column)] = mean;
  }
  diagonal.added = live == 0 ? 0 : damping * mean;
  for (double& value : diagonal.values) value += diagonal.added;
  return diagonal;
}

/// matrix: of T, contiguous.
template <typename T>
void set_diagonal(at::Tensor& matrix, std::span<const double> values) {
  T* const first = matrix.mutable_data_ptr<T>();
  const auto n = static_cast<std::int64_t>(values.size());
  for (std::int64_t i = 0; i < n; ++i) {
    first[i * (n + 1)] = static_cast<T>(values[static_cast<std::size_t>(i)]);
  }
}

/// The Hessian with this diagonal and rows and columns in this order.
at::Tensor permuted(const at::Tensor& hessian, std::span<const double> diagonal,
                    std::span<const std::int64_t> order) {
  const auto n = static_cast<std::int64_t>(order.size());
  at::Tensor result = at::empty_like(hessian);
  const double* const from = hessian.const_data_ptr<double>();
  double* const to = result.mutable_data_ptr<double>();
  parallel_for(n, kPermutedRows, at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t source = order[static_cast<std::size_t>(i)];
      const double* const row = from + source * n;
      std::transform(order.begin(), order.end(), to + i * n,
                     [row](std::int64_t column) { return row[column]; });
      to[i * (n + 1)] = diagonal[static_cast<std::size_t>(source)];
    }
  });
  return result;
}

/// Returns the lower X with flip(M)^-1 = X^T X. Then flip(X) is the upper factor of M^-1: from
/// flip(M) = L L^T follows M = V V^T with V = flip(L), so M^-1 = U^T U with U = V^-1 = flip(L^-1).
/// One factorization and one triangular inverse instead of two and a product.
std::optional<at::Tensor> flipped_factor(at::Tensor flipped) {
  if (!factor_cholesky(view_of(flipped), at::get_num_threads())) return std::nullopt;
  invert_lower(view_of(flipped), at::get_num_threads());
  return flipped;
}

/// out = U^T U, given -U^T and U. U_ki is 0 beyond k = i, and the product is symmetric: a third of
/// the FLOPs of a full one remains.
void square_upper(MatrixView<const double> negated, MatrixView<const double> upper,
                  MatrixView<double> out) {
  constexpr std::int64_t kBlock = 256;
  const std::int64_t n = out.rows;
  parallel_for(n, kBlock, at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t left = 0; left < end; left += kBlock) {
      const std::int64_t right = std::min(left + kBlock, end);
      subtract_product(negated.part(begin, end - begin, 0, right),
                       upper.part(0, right, left, right - left),
                       out.part(begin, end - begin, left, right - left));
    }
  });
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) out.row(j)[i] = out.row(i)[j];
  }
}

}  // namespace

DampedHessian damp(const at::Tensor& hessian, double damping) {
  ensure_hessian(hessian);
  DampedDiagonal diagonal = damped_diagonal(hessian, damping);
  DampedHessian result{hessian.clone(), diagonal.added, std::move(diagonal.dead_columns)};
  set_diagonal<double>(result.matrix, diagonal.values);
  return result;
}

at::Tensor damped_in_float(const at::Tensor& hessian, double damping) {
  ensure_hessian(hessian);
  at::Tensor result = hessian.to(at::kFloat);
  set_diagonal<float>(result, damped_diagonal(hessian, damping).values);
  return result;
}

std::optional<InverseFactor> inverse_factor(const at::Tensor& hessian, double damping,
                                            std::span<const std::int64_t> order) {
  ensure_hessian(hessian);
  ensure(std::cmp_equal(order.size(), hessian.size(0)), "an order of all columns");
  const std::vector<std::int64_t> reversed(order.rbegin(), order.rend());
  for (std::size_t rung = 0; rung < kRungs.size(); ++rung) {
    const double share = damping * kRungs[rung];
    DampedDiagonal diagonal = damped_diagonal(hessian, share);
    if (auto factor = flipped_factor(permuted(hessian, diagonal.values, reversed))) {
      const at::Tensor flipped = std::exchange(*factor, {}).to(at::kFloat);
      return InverseFactor{flipped.flip({0, 1}),
                           {order.begin(), order.end()},
                           std::move(diagonal.dead_columns),
                           share,
                           static_cast<int>(rung)};
    }
  }
  return std::nullopt;
}

std::vector<std::int64_t> natural_order(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<std::int64_t> descending_diagonal(const at::Tensor& hessian) {
  ensure_hessian(hessian);
  const std::int64_t n = hessian.size(0);
  const double* const first = hessian.const_data_ptr<double>();
  std::vector<std::int64_t> order = natural_order(n);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return first[a * (n + 1)] > first[b * (n + 1)];
  });
  return order;
}

std::optional<at::Tensor> inverse(const DampedHessian& hessian) {
  const auto factor = flipped_factor(hessian.matrix.flip({0, 1}));
  if (!factor) return std::nullopt;
  const at::Tensor upper = factor->flip({0, 1});
  at::Tensor product = at::zeros_like(upper);
  square_upper(view_of(upper.t().neg().contiguous()), view_of(upper), view_of(product));
  return product;
}

}  // namespace edgecompress
