#pragma once

#include <cstdint>
#include <span>

#include "methods/quantize_method.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// Rounds weights to the nearest code, halves to the even one. A weight of exactly 0 stays 0.
///
/// The grid of a group without a clip search:
/// - symmetric, 4 bits: the weight farthest from 0 has code -8, so the scale has the opposite sign
///   (as ONNX Runtime's default); the other end may be clipped to code 7, by up to one step;
/// - symmetric, 8 bits: scale = max|w| / 127;
/// - asymmetric: from min(w, 0) to max(w, 0), the zero point rounded to a code.
/// With a clip search: ClipSearch::WeightError. A group of zeros has scale 1.
/// Cost: on two cores of a server about 1e9 weights/s, with a clip search 5e7.
QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                             const QuantScheme& scheme, const RtnOptions& options, int num_threads);

}  // namespace edgecompress
