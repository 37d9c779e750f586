#pragma once

#include <string>

#include "onnx_export/export_context.h"
#include "onnx_export/linear.h"

namespace edgecompress {

/// How the artifact rounds the inputs of a matrix's product. None for float weights, and for a head
/// whose folder does not round.
ActivationRounding input_rounding(const ExportContext& context, const StackedMatrix& matrix);

/// Weights of 8 bits with one scale a row, and how their inputs are rounded.
struct IntegerProduct {
  const StackedMatrix& weights;
  ActivationRounding rounding;  ///< Int8PerToken or Int8PerTensor
};

/// Adds MatMulInteger of the rounded x and the codes, times both scales (+ bias), of ONNX's own
/// operators. Returns the result's name, `output` when that is not empty. Products that read the
/// same x share its codes.
std::string add_integer_linear(ExportContext& context, const std::string& x, const Linear& linear,
                               const IntegerProduct& product, const std::string& output);

}  // namespace edgecompress
