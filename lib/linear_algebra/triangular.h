#pragma once

#include "linear_algebra/matrix_view.h"

namespace edgecompress {

// Factorizations whose bytes do not depend on the number of threads (LAPACK's do).

/// Replaces a symmetric positive definite matrix, of which only the lower triangle is read, by its
/// lower Cholesky factor; what lies above the diagonal becomes 0.
/// Returns false, with the matrix unusable, when a pivot is not positive and finite.
/// Cost: n^3 / 3 FLOPs.
[[nodiscard]] bool factor_cholesky(MatrixView<double> matrix, int num_threads);

/// Replaces a lower triangular matrix with zeros above its diagonal by its inverse.
/// Cost: n^3 / 3 FLOPs.
void invert_lower(MatrixView<double> matrix, int num_threads);

/// Solves L L^T x = b in place on the calling thread; factor: L, x: [n].
void solve_cholesky(MatrixView<const double> factor, double* x);

}  // namespace edgecompress
