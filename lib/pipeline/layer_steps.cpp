#include "pipeline/layer_steps.h"

#include <algorithm>

#include "base/error.h"
#include "base/parallel.h"
#include "prune/keep_mask.h"
#include "prune/least_squares.h"
#include "prune/sparsegpt.h"
#include "quantize/gptq.h"
#include "quantize/hqq.h"
#include "quantize/refine.h"
#include "quantize/rtn.h"
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

void repair_mask(LayerState& layer, const at::Tensor& dense, const GroupInputs& inputs) {
  const auto repaired =
      least_squares_on_support(dense, inputs.hessian(), layer.keep, kRepairDamping);
  if (repaired) {
    layer.weight = repaired->contiguous();
  } else {
    layer.fallbacks.emplace_back("no repair of the mask: the Hessian cannot be inverted");
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
    GptqResult result = quantize_gptq(values_of(layer.weight), rows(), columns(), scheme, gptq,
                                      options.clip, {}, num_threads);
    layer.clipped_share =
        static_cast<double>(result.num_clipped) / static_cast<double>(layer.weight.numel());
    if (options.refine_rounds == 0) return std::move(result.matrix);
    const at::Tensor damped =
        damp(inputs->hessian(), factor->damping).matrix.to(at::kFloat).contiguous();
    return refine(values_of(layer.weight), result.matrix, values_of(damped), factor->order, {},
                  options.refine_rounds, num_threads)
        .matrix;
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
  const at::Tensor dense = layer.weight;
  std::visit(Masker{layer, inputs, step.pattern}, step.method);
  if (step.repair == MaskRepair::LeastSquares) repair_mask(layer, dense, *inputs);
  layer.weight = rounded_to(layer.weight, dtype).contiguous();
  return layer;
}

LayerState quantize_layer(LayerState layer, GroupInputs* inputs, const QuantScheme& scheme,
                          const QuantizeMethod& method, int num_threads) {
  layer.codes = std::visit(LayerQuantizer{layer, inputs, scheme, num_threads}, method);
  layer.weight = dequantized(*layer.codes, num_threads);
  return layer;
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
