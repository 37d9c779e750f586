#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "calibrate/dense_reference.h"
#include "calibrate/layer_inputs.h"
#include "decoder/block_weights.h"
#include "prune/structured.h"
#include "quantize/input_scales.h"
#include "recipe/recipe.h"
#include "stats/damped_hessian.h"
#include "stats/hessian.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// The inputs of a group of linear layers, and what methods derive from them, computed once for all
/// layers of the group.
class GroupInputs {
 public:
  explicit GroupInputs(LayerInputs inputs) : inputs_(std::move(inputs)) {}
  explicit GroupInputs(ReferencedInputs inputs)
      : inputs_(std::move(inputs.inputs)), dense_(std::move(inputs.dense)) {}

  const at::Tensor& norm() const { return inputs_.norm; }
  const at::Tensor& hessian() const { return inputs_.hessian; }
  const LayerInputs& layer_inputs() const { return inputs_; }

  /// How they relate to the dense model's; nothing when no step asks.
  const std::optional<DenseMoments>& dense() const { return dense_; }

  enum class ColumnOrder { Natural, FallingDiagonal };

  /// The inputs as they are once each is divided by its scale. scales: [in_features] float.
  void divide(const at::Tensor& scales);

  /// The factor of the damped inverse Hessian; nothing when it cannot be inverted.
  const std::optional<InverseFactor>& factor(double damping, ColumnOrder order);

 private:
  LayerInputs inputs_;
  std::optional<DenseMoments> dense_;
  std::map<std::pair<double, ColumnOrder>, std::optional<InverseFactor>> factors_;
};

/// One linear layer on its way through the mask and quantize steps.
struct LayerState {
  at::Tensor weight = {};          ///< [out, in] float, contiguous; what is computed with
  at::Tensor dense = {};           ///< what `weight` stands for: before masks and rounding
  at::Tensor wanted_outputs = {};  ///< E[y x^T] to aim at, [out, in] double; or undefined
  at::Tensor keep = {};            ///< bool, true = keep; undefined without a mask
  at::Tensor unmasked = {};        ///< `weight` before a mask that is repaired with the rounding
  std::optional<QuantizedMatrix> codes = {};  ///< after a quantize step
  ActivationScheme activation = {};           ///< how it rounds its inputs
  std::optional<int> damping_rung = {};       ///< 0: as asked for; the larger one of the steps
  std::optional<double> clipped_share = {};   ///< of the weights, beyond the end of the grid
  std::optional<double> scale_exponent = {};  ///< of the scales of its inputs; 0: none
  std::vector<std::string> fallbacks = {};    ///< what was done instead of what was asked for
};

/// Lays the step's mask over a layer. inputs: nullptr for data-free methods.
LayerState mask_layer(LayerState layer, GroupInputs* inputs, const MaskStep& step, DType dtype);

/// Puts a layer on a grid. inputs: nullptr for data-free methods.
/// Throws Error{Numeric} F23 when the Hessian cannot be inverted and the method may not fall back.
LayerState quantize_layer(LayerState layer, GroupInputs* inputs, const QuantScheme& scheme,
                          const QuantizeMethod& method, int num_threads);

/// tr(D H D^T) of D = dense - weight rounded to the nearest, on a grid without a search: what a
/// method that looks at the inputs starts from.
double nearest_output_error(const LayerState& layer, const RelativeHessian& hessian,
                            const QuantScheme& scheme, int num_threads);

/// AWQ's scales for the inputs that layers share.
/// layers: what will be rounded, on which grid. scale_of_column: as ScalableInputs.
InputScales search_scales(const std::vector<std::pair<const LayerState*, QuantScheme>>& layers,
                          const GroupInputs& inputs, std::span<const std::int64_t> scale_of_column,
                          int num_threads);

/// The layer for inputs divided by `scales`: its columns are multiplied by them. It must not be
/// quantized yet.
void multiply_columns(LayerState& layer, const at::Tensor& scales);

/// The layer with each output divided: rows of the weight, or the scales of their codes. Weights
/// without codes are rounded to `dtype`.
void divide_rows(LayerState& layer, const at::Tensor& divisors, DType dtype, int num_threads);

/// The matrix's real values, [out, in] float.
at::Tensor dequantized(const QuantizedMatrix& matrix, int num_threads);

}  // namespace edgecompress
