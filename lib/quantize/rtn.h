#pragma once

#include <cstdint>
#include <span>

#include "methods/quantize_method.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// Round to nearest. Contract: quantize.h.
QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                             const QuantScheme& scheme, const RtnOptions& options, int num_threads);

}  // namespace edgecompress
