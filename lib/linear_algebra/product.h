#pragma once

#include <cstdint>

#include "linear_algebra/matrix_view.h"

namespace edgecompress {

// Products whose bytes depend neither on the number of threads nor on the CPU. (MKL's strict mode
// promises the same for threads and keeps it in float, but measured not in double.)

/// c -= a b, on the calling thread. c overlaps neither a nor b.
///
/// An element of c is reduced by sums of 256 terms in order, each multiplied and added with one
/// rounding, whatever part of a larger matrix the views are.
void subtract_product(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c);
void subtract_product(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c);

/// c -= a b with rows of c on up to num_threads threads; the same bytes as subtract_product.
void subtract_product_parallel(MatrixView<const double> a, MatrixView<const double> b,
                               MatrixView<double> c, int num_threads);

/// out -= factor row, `count` elements.
void subtract_multiple(float factor, const float* row, float* out, std::int64_t count);
void subtract_multiple(double factor, const double* row, double* out, std::int64_t count);

}  // namespace edgecompress
