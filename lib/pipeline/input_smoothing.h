#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "quantize/input_scales.h"
#include "weights/activation_rounding.h"
#include "weights/quant_scheme.h"

namespace edgecompress {

/// One of the layers that read the same inputs, which will be rounded.
struct SmoothedLayer {
  at::Tensor weight;  ///< [out, in] float, contiguous
  QuantScheme scheme;
  ActivationScheme activation;
};

struct SmoothingInputs {
  at::Tensor largest;  ///< [in] float, largest |input|
  at::Tensor sample;   ///< [tokens, in] float
  /// Which scale a column has, as ScalableInputs.
  std::span<const std::int64_t> scale_of_column;
};

/// Searches SmoothQuant's scales with which rounding inputs and weights to the nearest loses least
/// of the layers' outputs on the sample.
///
/// Scale s_j = max|x_j|^a / max_i|W_ij|^(1 - a), W the rows of all layers, divided by the root of
/// the product of the largest and the smallest (arXiv 2211.10438, eq. 4), for a = 0.05, 0.10, ...
/// 1.00, and no scales at all, which win when equal; then the smallest a. The error is that of at
/// most 256 rows of each layer, spread evenly.
/// Returns the same for any num_threads. Cost: 21 * 256 * columns * 2 * tokens FLOPs a layer.
InputScales search_smoothing(const std::vector<SmoothedLayer>& layers,
                             const SmoothingInputs& inputs, int num_threads);

}  // namespace edgecompress
