#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// A Hessian that can be inverted.
struct DampedHessian {
  at::Tensor matrix;                       ///< [n, n] double
  double added;                            ///< what was added to every entry of the diagonal
  std::vector<std::int64_t> dead_columns;  ///< inputs that were 0 on every token, ascending
};

/// Adds `damping` times the mean diagonal of the live columns to the diagonal.
///
/// A dead column has a zero row and column; its diagonal becomes that mean first, so that its
/// weights neither take part in the compensation nor weigh more than others. A Hessian of zeros
/// becomes the identity.
DampedHessian damp(const at::Tensor& hessian, double damping);

/// damp(hessian, damping).matrix rounded to float, without a second matrix of doubles.
at::Tensor damped_in_float(const at::Tensor& hessian, double damping);

/// What the column recursions of GPTQ and SparseGPT need.
struct InverseFactor {
  at::Tensor upper;  ///< U, [n, n] float, upper triangular: (damped H in `order`)^-1 = U^T U
  std::vector<std::int64_t> order;         ///< the column of H that step i takes
  std::vector<std::int64_t> dead_columns;  ///< of H, ascending
  double damping;                          ///< share of the mean diagonal that was added
  int rung;                                ///< 0: as asked for; 1, 2, ...: raised so many times
};

/// Inverts a damped Hessian, raising the damping to 2, 5, 10 and 100 times what was asked for until
/// that succeeds.
///
/// order: a permutation of the columns.
/// Returns nothing when the last rung failed too. The same bytes on any number of threads.
/// Cost:   2/3 n^3 FLOPs in double and 12 n^2 bytes beside the Hessian.
std::optional<InverseFactor> inverse_factor(const at::Tensor& hessian, double damping,
                                            std::span<const std::int64_t> order);

/// 0, 1, ... n-1.
std::vector<std::int64_t> natural_order(std::int64_t n);

/// The columns by falling mean square of their input ("act-order"); of equals the lower first.
std::vector<std::int64_t> descending_diagonal(const at::Tensor& hessian);

/// (damped H)^-1 = U^T U in double, [n, n]; nothing when it is not positive definite.
std::optional<at::Tensor> inverse(const DampedHessian& hessian);

}  // namespace edgecompress
