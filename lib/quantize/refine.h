#pragma once

#include <cstdint>
#include <span>

#include "weights/quantized_matrix.h"

namespace edgecompress {

struct RefinedMatrix {
  QuantizedMatrix matrix;
  double output_error = 0;  ///< tr(D H D^T), D the change of the whole weight
};

/// Lowers the output error of a matrix on its grid by descent, one coordinate after the other.
///
/// A round sets the scale of each group of each row to the best one for its codes, then each code
/// to the best one for all others, in `order`. Zero points stay, dropped weights and weights of
/// exactly 0 stay 0. No step raises the error, up to float's rounding.
/// weight:  [rows, columns], what `matrix` approximates.
/// hessian: [columns, columns] float, symmetric, positive definite: H with damping.
/// order:   a permutation of the columns.
/// keep:    [rows, columns], not 0 = keep, or empty.
/// Returns  the same bytes for any num_threads.
/// Cost:    2 rows * columns^2 FLOPs, and for each round 2 rows * columns^2 and 2 columns for each
///          code that changes.
/// Source:  coordinate descent on codes: QuantEase, arXiv 2309.01885, section 3.
RefinedMatrix refine(std::span<const float> weight, const QuantizedMatrix& matrix,
                     std::span<const float> hessian, std::span<const std::int64_t> order,
                     std::span<const std::uint8_t> keep, int num_rounds, int num_threads);

}  // namespace edgecompress
