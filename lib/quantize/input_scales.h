#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "linear_algebra/matrix_view.h"
#include "weights/quant_scheme.h"

namespace edgecompress {

/// One of the layers that read the same inputs.
struct ScalableLayer {
  MatrixView<const float> weight = {};  ///< [rows, columns], finite
  QuantScheme scheme;
};

struct ScalableInputs {
  /// Mean of x x^T up to a factor, [columns, columns].
  MatrixView<const float> hessian;
  /// Which scale a column has: numbers 0, 1, ... Columns that one output of the layer before feeds
  /// have one scale.
  std::span<const std::int64_t> scale_of_column;
};

struct InputScales {
  std::vector<float> by_column;  ///< > 0; inputs are divided, weights multiplied by it
  double exponent = 0;           ///< 0: all scales are 1
  double relative_error = 0;     ///< sum of the layers' output errors over their output energies
};

/// Searches the scales with which rounding to the nearest loses least of the layers' outputs.
///
/// Scale s_j = (mean square of input j)^(a/2), divided by the root of the product of the largest
/// and the smallest, for a = 0, 0.05, ... 0.95; the first of equals (AWQ, arXiv 2306.00978, eq.
/// 4-5, with the root mean square instead of the mean absolute value, and each layer's own outputs
/// instead of the block's). The error is that of at most 256 rows of each layer, spread evenly:
/// scales are common to all rows. Returns the same for any num_threads. Cost: 20 * 256 * columns^2
/// FLOPs times 2 for each layer.
InputScales search_input_scales(std::span<const ScalableLayer> layers, const ScalableInputs& inputs,
                                int num_threads);

}  // namespace edgecompress
