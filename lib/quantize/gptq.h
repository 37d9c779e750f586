#pragma once

#include <cstdint>
#include <span>

#include "methods/gptq_options.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// What GPTQ knows about a layer's inputs; the matrices are stats/damped_hessian.h's.
struct GptqInputs {
  /// U, [columns, columns] row-major, upper triangular: (damped H in `order`)^-1 = U^T U.
  std::span<const float> factor;
  /// The column that step i takes; a permutation.
  std::span<const std::int64_t> order;
  /// The mean square of each input: H's diagonal without damping, [columns], not in `order`.
  std::span<const double> mean_square;
};

struct GptqResult {
  QuantizedMatrix matrix;
  /// tr(D H D^T) with the damped H, of all changes of the weight: rounded and dropped.
  double output_error = 0;
  /// Weights that met the end of the grid more than half a step before themselves.
  std::int64_t num_clipped = 0;
};

/// Puts a weight on the grid column by column, each rounding error compensated by the columns that
/// follow (arXiv 2210.17323, algorithm 1, with the grids of all groups fixed in advance).
///
/// weight: [rows, columns] row-major, finite.
/// keep:   [rows, columns], not 0 = keep, or empty. A dropped weight becomes exactly 0 (its code is
///         the zero point) and the columns that follow compensate for it too; so does a weight of
///         exactly 0 where there is no mask. Masks without compensation are therefore given as
///         weights that are already 0.
/// A column whose input was always 0 has no partner in the factor: it is rounded to the nearest.
/// With the factor of the identity every weight is: the result is quantize_rtn's with that grid.
/// Returns the same for any num_threads.
/// Throws  Error{Numeric} naming row and column of a NaN or infinity, or a row whose compensation
///         overflows float.
/// Cost:   rows * columns^2 FLOPs in float.
GptqResult quantize_gptq(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                         const QuantScheme& scheme, const GptqInputs& inputs, GptqClip clip,
                         std::span<const std::uint8_t> keep, int num_threads);

}  // namespace edgecompress
