#include "pipeline/layer_steps.h"

#include <algorithm>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/matrix_view.h"
#include "prune/keep_mask.h"
#include "prune/least_squares.h"
#include "prune/sparsegpt.h"
#include "quantize/gptq.h"
#include "quantize/hqq.h"
#include "quantize/output_clip.h"
#include "quantize/refine.h"
#include "quantize/rtn.h"
#include "stats/hessian.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowsAtOnce = 64;
constexpr double kRepairDamping = 0.01;  // as GPTQ's: the repair must not lean on noise directions

std::span<const float> values_of(const at::Tensor& matrix) {
  ensure(matrix.is_contiguous() && matrix.scalar_type() == at::kFloat, "a contiguous float matrix");
  return {matrix.data_ptr<float>(), static_cast<std::size_t>(matrix.numel())};
}

void note_rung(LayerState& layer, int rung) {
  layer.damping_rung = std::max(layer.damping_rung.value_or(0), rung);
}

void apply_mask(LayerState& layer, const at::Tensor& keep) {
  layer.keep = layer.keep.defined() ? layer.keep.logical_and(keep) : keep;
  layer.weight = at::where(keep, layer.weight, 0.0F).contiguous();
}

/// One overload a mask method.
struct Masker {
  LayerState& layer;
  GroupInputs* inputs;
  const SparsityPattern& pattern;

  void operator()(const MagnitudeMask& method) const {
    apply_mask(layer, keep_mask(layer.weight, {}, method, pattern));
  }
  void operator()(const WandaMask& method) const {
    apply_mask(layer, keep_mask(layer.weight, inputs->norm(), method, pattern));
  }
  void operator()(const SparseGptMask& method) const {
    const auto& factor = inputs->factor(method.damping, GroupInputs::ColumnOrder::Natural);
    if (!factor) {
      layer.fallbacks.emplace_back("wanda instead of sparsegpt: the Hessian cannot be inverted");
      return (*this)(WandaMask{});
    }
    note_rung(layer, factor->rung);
    const SparseWeight sparse = sparsegpt(layer.weight, *factor, pattern);
    layer.weight = sparse.weight.contiguous();
    apply_mask(layer, sparse.keep);
  }
};

/// 1 = keep; nothing without a mask.
std::span<const std::uint8_t> bytes_of(const at::Tensor& keep) {
  if (!keep.defined()) return {};
  ensure(keep.is_contiguous() && keep.scalar_type() == at::kBool, "a contiguous mask");
  static_assert(sizeof(bool) == 1);
  return {reinterpret_cast<const std::uint8_t*>(keep.data_ptr<bool>()),
          static_cast<std::size_t>(keep.numel())};
}

MatrixView<const float> view_of(const at::Tensor& matrix) {
  return {values_of(matrix).data(), matrix.size(0), matrix.size(1), matrix.size(1)};
}

void repair_mask(LayerState& layer, const at::Tensor& dense, const GroupInputs& inputs) {
  const auto repaired =
      least_squares_on_support(dense, inputs.hessian(), layer.keep, kRepairDamping);
  if (repaired) {
    layer.weight = repaired->contiguous();
  } else {
    layer.fallbacks.emplace_back("no repair of the mask: the Hessian cannot be inverted");
  }
}

/// Solves the whole layer for the dense model's outputs; the mask then comes off that solution.
void aim_at_dense(LayerState& layer, const GroupInputs& inputs) {
  const auto solved = least_squares_for_outputs(layer.weight, inputs.hessian(),
                                                layer.wanted_outputs, kRepairDamping);
  if (solved) {
    layer.weight = solved->contiguous();
  } else {
    layer.fallbacks.emplace_back(
        "least-squares instead of dense-outputs: the Hessian cannot be inverted");
  }
}

/// One overload a quantize method.
struct LayerQuantizer {
  LayerState& layer;
  GroupInputs* inputs;
  const QuantScheme& scheme;
  int num_threads;

  std::int64_t rows() const { return layer.weight.size(0); }
  std::int64_t columns() const { return layer.weight.size(1); }

  QuantizedMatrix operator()(const RtnOptions& options) const {
    return quantize_rtn(values_of(layer.weight), rows(), columns(), scheme, options, num_threads);
  }
  QuantizedMatrix operator()(const HqqOptions& options) const {
    return quantize_hqq(values_of(layer.weight), rows(), columns(), scheme, options, num_threads);
  }
  QuantizedMatrix operator()(const GptqOptions& options) const {
    const auto order = options.act_order ? GroupInputs::ColumnOrder::FallingDiagonal
                                         : GroupInputs::ColumnOrder::Natural;
    const auto& factor = inputs->factor(options.damping, order);
    if (!factor) return without_factor(options);
    note_rung(layer, factor->rung);
    const at::Tensor mean_square = inputs->hessian().diagonal().contiguous();
    const at::Tensor upper = factor->upper.contiguous();
    const GptqInputs gptq{
        .factor = values_of(upper),
        .order = factor->order,
        .mean_square = {mean_square.data_ptr<double>(), static_cast<std::size_t>(columns())}};
    const at::Tensor& wanted = layer.unmasked.defined() ? layer.unmasked : layer.weight;
    const at::Tensor keep = layer.keep.defined() ? layer.keep.contiguous() : layer.keep;
    GptqResult result = quantize_gptq(values_of(wanted), rows(), columns(), scheme, gptq,
                                      options.clip, bytes_of(keep), num_threads);
    layer.clipped_share =
        static_cast<double>(result.num_clipped) / static_cast<double>(layer.weight.numel());
    if (options.refine_rounds == 0) return std::move(result.matrix);
    const at::Tensor damped = damped_in_float(inputs->hessian(), factor->damping);
    return refine(values_of(wanted), result.matrix, values_of(damped), factor->order,
                  bytes_of(keep), options.refine_rounds, num_threads)
        .matrix;
  }
  QuantizedMatrix operator()(const AwqOptions& options) const {
    if (options.rounding == AwqRounding::Gptq) return (*this)(GptqOptions{});
    if (options.clip == AwqClip::None) return (*this)(RtnOptions{});
    const at::Tensor hessian = relative_hessian(inputs->hessian()).matrix;
    return quantize_output_clip(values_of(layer.weight), rows(), columns(), scheme,
                                view_of(hessian), num_threads);
  }
  QuantizedMatrix operator()(const SmoothQuantOptions& options) const {
    if (options.rounding == SmoothRounding::Gptq) return (*this)(GptqOptions{});
    return (*this)(RtnOptions{});
  }
  QuantizedMatrix without_factor(const GptqOptions& options) const {
    if (options.on_singular == OnSingular::Fail) {
      throw Error(ErrorKind::Numeric, "F23",
                  "the Hessian cannot be inverted even with the largest damping; give more "
                  "calibration text, or on_singular: fallback");
    }
    layer.fallbacks.emplace_back("rtn instead of gptq: the Hessian cannot be inverted");
    return (*this)(RtnOptions{.clip = ClipSearch::WeightError});
  }
};

}  // namespace

void GroupInputs::divide(const at::Tensor& scales) {
  inputs_.norm = inputs_.norm / scales;
  inputs_.largest.reset();
  inputs_.sample.reset();
  if (inputs_.hessian.defined()) {
    const at::Tensor exact = scales.to(at::kDouble);
    inputs_.hessian = inputs_.hessian / exact.unsqueeze(0) / exact.unsqueeze(1);
  }
  dense_.reset();
  factors_.clear();
}

const std::optional<InverseFactor>& GroupInputs::factor(double damping, ColumnOrder order) {
  const auto [place, is_new] = factors_.try_emplace({damping, order});
  if (is_new) {
    const std::vector<std::int64_t> columns = order == ColumnOrder::Natural
                                                  ? natural_order(hessian().size(0))
                                                  : descending_diagonal(hessian());
    place->second = inverse_factor(hessian(), damping, columns);
  }
  return place->second;
}

LayerState mask_layer(LayerState layer, GroupInputs* inputs, const MaskStep& step, DType dtype) {
  if (step.repair == MaskRepair::DenseOutputs) aim_at_dense(layer, *inputs);
  const at::Tensor dense = layer.weight;
  std::visit(Masker{layer, inputs, step.pattern}, step.method);
  if (solves_rows(step.repair)) repair_mask(layer, dense, *inputs);
  if (step.repair == MaskRepair::WithRounding) layer.unmasked = dense;
  layer.weight = rounded_to(layer.weight, dtype).contiguous();
  return layer;
}

LayerState quantize_layer(LayerState layer, GroupInputs* inputs, const QuantScheme& scheme,
                          const QuantizeMethod& method, int num_threads) {
  layer.codes = std::visit(LayerQuantizer{layer, inputs, scheme, num_threads}, method);
  layer.weight = dequantized(*layer.codes, num_threads);
  return layer;
}

double nearest_output_error(const LayerState& layer, const RelativeHessian& hessian,
                            const QuantScheme& scheme, int num_threads) {
  const QuantizedMatrix nearest = quantize_rtn(values_of(layer.weight), layer.weight.size(0),
                                               layer.weight.size(1), scheme, {}, num_threads);
  return output_energy(layer.dense - dequantized(nearest, num_threads), hessian);
}

InputScales search_scales(const std::vector<std::pair<const LayerState*, QuantScheme>>& layers,
                          const GroupInputs& inputs, std::span<const std::int64_t> scale_of_column,
                          int num_threads) {
  const at::Tensor hessian = relative_hessian(inputs.hessian()).matrix;
  std::vector<ScalableLayer> scalable;
  for (const auto& [layer, scheme] : layers) {
    scalable.push_back({.weight = view_of(layer->weight), .scheme = scheme});
  }
  return search_input_scales(
      scalable, {.hessian = view_of(hessian), .scale_of_column = scale_of_column}, num_threads);
}

void multiply_columns(LayerState& layer, const at::Tensor& scales) {
  ensure(!layer.codes.has_value(), "a layer whose columns can still be scaled");
  layer.weight = (layer.weight * scales).contiguous();
  layer.dense = (layer.dense * scales).contiguous();
}

void divide_rows(LayerState& layer, const at::Tensor& divisors, DType dtype, int num_threads) {
  const at::Tensor column = divisors.unsqueeze(1);
  layer.dense = (layer.dense / column).contiguous();
  if (!layer.codes) {
    layer.weight = rounded_to(layer.weight / column, dtype).contiguous();
    return;
  }
  const QuantizedMatrix& codes = *layer.codes;
  const at::Tensor scales =
      at::tensor(codes.scales(), at::kFloat).view({codes.rows(), -1}).div(column).contiguous();
  const std::span<const float> divided = values_of(scales);
  layer.codes = QuantizedMatrix(
      codes.rows(), codes.columns(), codes.scheme(), {codes.codes().begin(), codes.codes().end()},
      {divided.begin(), divided.end()}, {codes.zero_points().begin(), codes.zero_points().end()});
  layer.weight = dequantized(*layer.codes, num_threads);
}

at::Tensor dequantized(const QuantizedMatrix& matrix, int num_threads) {
  at::Tensor values = at::empty({matrix.rows(), matrix.columns()}, at::kFloat);
  float* const data = values.data_ptr<float>();
  parallel_for(matrix.rows(), kRowsAtOnce, num_threads, [&](std::int64_t begin, std::int64_t end) {
    matrix.dequantize_rows(begin, end,
                           {data + begin * matrix.columns(),
                            static_cast<std::size_t>((end - begin) * matrix.columns())});
  });
  return values;
}

}  // namespace edgecompress
