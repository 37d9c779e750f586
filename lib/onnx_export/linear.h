#pragma once

#include <string>
#include <vector>

#include "onnx_export/export_context.h"

namespace edgecompress {

/// A linear layer of the graph.
struct Linear {
  std::string name;                  ///< its tensors and nodes begin with it
  std::vector<std::string> modules;  ///< of the checkpoint; several: their rows one below the other
  bool has_bias = false;             ///< every module has "<module>.bias"
};

/// Adds x * weight^T (+ bias) and returns the result's name, `output` when that is not empty.
/// Weights that are empty enough, when the export is a sparse one: PanelSparseMatMul.
/// Weights whose inputs are rounded: MatMulInteger (integer_linear.h).
/// Float weights: MatMul with [in, out]. Quantized: MatMulNBits, or DequantizeLinear and MatMul in
/// a standard graph. Throws Error{Unsupported} X1 for a group size that MatMulNBits does not take.
std::string add_linear(ExportContext& context, const std::string& x, const Linear& linear,
                       const std::string& output = "");

/// The tensors of a MatMulNBits node.
struct NbitsTensors {
  std::string codes;
  std::string scales;
  std::string zero_points;  ///< empty when symmetric
};
NbitsTensors nbits_tensor_names(const std::string& linear_name, const QuantScheme& scheme);

/// The bias of all its modules, one behind the other.
std::string add_bias_tensor(ExportContext& context, const Linear& linear);

/// Whether the modules' weights can be one product: all float, or all quantized on one kind of
/// grid.
bool can_stack(const ExportContext& context, const std::vector<std::string>& modules);

}  // namespace edgecompress
