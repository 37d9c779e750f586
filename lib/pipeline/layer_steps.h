#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "calibrate/layer_inputs.h"
#include "decoder/block_weights.h"
#include "prune/structured.h"
#include "recipe/recipe.h"
#include "stats/damped_hessian.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// The inputs of a group of linear layers, and what methods derive from them, computed once for all
/// layers of the group.
class GroupInputs {
 public:
  explicit GroupInputs(LayerInputs inputs) : inputs_(std::move(inputs)) {}

  const at::Tensor& norm() const { return inputs_.norm; }
  const at::Tensor& hessian() const { return inputs_.hessian; }

  enum class ColumnOrder { Natural, FallingDiagonal };

  /// The factor of the damped inverse Hessian; nothing when it cannot be inverted.
  const std::optional<InverseFactor>& factor(double damping, ColumnOrder order);

 private:
  LayerInputs inputs_;
  std::map<std::pair<double, ColumnOrder>, std::optional<InverseFactor>> factors_;
};

/// One linear layer on its way through the mask and quantize steps.
struct LayerState {
  at::Tensor weight;                     ///< [out, in] float, contiguous; what is computed with
  at::Tensor keep;                       ///< bool, true = keep; undefined without a mask
  std::optional<QuantizedMatrix> codes;  ///< after a quantize step
  std::optional<int> damping_rung;       ///< 0: as asked for; the larger one of the steps
  std::optional<double> clipped_share;   ///< of the weights, beyond the end of the grid
  std::vector<std::string> fallbacks;    ///< what was done instead of what was asked for
};

/// Lays the step's mask over a layer. inputs: nullptr for data-free methods.
LayerState mask_layer(LayerState layer, GroupInputs* inputs, const MaskStep& step, DType dtype);

/// Puts a layer on a grid. inputs: nullptr for data-free methods.
/// Throws Error{Numeric} F23 when the Hessian cannot be inverted and the method may not fall back.
LayerState quantize_layer(LayerState layer, GroupInputs* inputs, const QuantScheme& scheme,
                          const QuantizeMethod& method, int num_threads);

/// The matrix's real values, [out, in] float.
at::Tensor dequantized(const QuantizedMatrix& matrix, int num_threads);

}  // namespace edgecompress
