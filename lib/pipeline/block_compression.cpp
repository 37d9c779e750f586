#include "pipeline/block_compression.h"

#include <utility>

#include "base/error.h"
#include "calibrate/dense_reference.h"
#include "calibrate/layer_inputs.h"
#include "llama/linear_layers.h"
#include "methods/method_names.h"
#include "pipeline/block_cut.h"
#include "pipeline/input_scaling.h"
#include "pipeline/input_smoothing.h"
#include "stats/hessian.h"
#include "tensor/aten.h"
#include "training/block_reconstruction.h"

namespace edgecompress {
namespace {

void refuse_lost_mask(const LayerState& layer) {
  if (!layer.keep.defined()) return;
  const at::Tensor dropped = layer.weight.masked_select(layer.keep.logical_not());
  ensure(dropped.eq(0).all().item<bool>(), "masked weights to be exactly zero after every step");
}

/// The dense layer's outputs. Where a cut took rows away, those that stay are the dense layer's.
at::Tensor wanted_of(LinearKind kind, const GroupInputs* inputs, const BlockHistory& history) {
  if (inputs == nullptr || !inputs->dense()) return {};
  const bool writes_to_residual = kind == LinearKind::O || kind == LinearKind::Down;
  const BlockWeights& dense = writes_to_residual ? history.after.front() : history.cut;
  return wanted_outputs(dense.weight(kind), *inputs->dense());
}

bool reconstructs(const Step& step) {
  const auto* const mask = std::get_if<MaskStep>(&step.action);
  return mask != nullptr && mask->repair == MaskRepair::Reconstruction;
}

/// Some of the plan's steps, by position.
struct StepRange {
  std::size_t begin;
  std::size_t end;
};

/// The steps in pieces each of which ends where all layers of the block are trained together, or
/// with the last step.
std::vector<StepRange> pieces_of(const std::vector<Step>& steps) {
  std::vector<StepRange> pieces;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i + 1 < steps.size() && !reconstructs(steps[i])) continue;
    pieces.push_back({begin, i + 1});
    begin = i + 1;
  }
  return pieces;
}

bool scales_inputs_of(const Step& step) {
  const auto* const quantize = std::get_if<QuantizeStep>(&step.action);
  return quantize != nullptr && scales_inputs(quantize->method);
}

class BlockCompression {
 public:
  BlockCompression(BlockWeights dense, BlockIndex index, const BlockContext& context)
      : index_(index), context_(context) {
    history_.after.resize(context.plan.steps.size() + 1);
    history_.after[0] = std::move(dense);
  }

  BlockHistory run() {
    cut();
    compress_layers();
    if (dense_outputs_) {
      *context_.dense_calibration = std::move(*dense_outputs_);
    } else if (context_.dense_calibration != nullptr) {
      advance(*context_.dense_calibration,
              to_target(history_.after.front(), context_.compute.target), context_.rotary,
              context_.compute.target);
    }
    return std::move(history_);
  }

 private:
  /// The prune steps: each chooses, cuts and repairs, seeing what flows into this block.
  void cut() {
    history_.cut = history_.after.front();
    for (std::size_t i = 0; i < context_.plan.steps.size(); ++i) {
      const Step& step = context_.plan.steps[i];
      if (std::holds_alternative<DropLayersStep>(step.action)) history_.after[i + 1] = history_.cut;
      const auto* const prune = std::get_if<PruneStep>(&step.action);
      if (prune == nullptr) continue;
      StructuredCut cut = prune->cut;
      if (auto* const random = std::get_if<RandomScore>(&cut.score)) {
        *random = random_score_of_block(*random, index_.source);
      }
      std::optional<SequentialBlock> tokens =
          tokens_when(context_.plan.cut_need, StatesAfter::Kept);
      std::optional<DenseReference> dense = dense_when(aims_at_dense(cut.repair));
      CutResult result = prune_block(
          history_.cut,
          {.block = tokens ? &*tokens : nullptr,
           .dense = dense ? &*dense : nullptr,
           .scores = context_.plan.part_scores.empty()
                         ? nullptr
                         : &context_.plan.part_scores[static_cast<std::size_t>(index_.written)]},
          cut, context_.plan.widths.at(step.id)[static_cast<std::size_t>(index_.written)],
          context_.config.dtype);
      history_.cut = std::move(result.block);
      if (cut.repair == CutRepair::Reconstruction) reconstruct(cut.reconstruction);
      history_.fallbacks.insert(history_.fallbacks.end(), result.fallbacks.begin(),
                                result.fallbacks.end());
      history_.after[i + 1] = history_.cut;
    }
  }

  /// The dense model's hidden states behind this block; those before it stay for other steps.
  HiddenStates& dense_outputs() {
    if (dense_outputs_) return *dense_outputs_;
    HiddenStates& before = *context_.dense_calibration;
    HiddenStates& behind =
        dense_outputs_.emplace(before, before.hidden_size(), context_.compute.storage);
    const BlockWeights block = to_target(history_.after.front(), context_.compute.target);
    for_each_piece(
        before, context_.compute.target.device,
        [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
          behind.windows(begin, end).copy_(block_forward(block, context_.rotary, hidden, {}));
          behind.release(begin, end);
        });
    return behind;
  }

  /// Trains what is left of the block for the dense model's hidden states behind it.
  void reconstruct(const ReconstructionOptions& options) {
    history_.cut = reconstructed(history_.cut, {}, options);
  }

  BlockWeights reconstructed(const BlockWeights& start, const KeptWeights& kept,
                             const ReconstructionOptions& options) {
    Reconstruction result = reconstruct_block(
        start, kept, {.inputs = *context_.calibration, .targets = dense_outputs()},
        {.rotary = context_.rotary, .target = context_.compute.target}, options);
    for (at::Tensor& weight : result.block.weights) {
      weight = rounded_to(weight, context_.config.dtype).contiguous();
    }
    history_.block_error_before = result.error_before;
    history_.block_error_after = result.error_after;
    return std::move(result.block);
  }

  /// Trains what the masks of all layers keep for the dense model's hidden states behind the block.
  /// finished: takes over the weights.
  void reconstruct_kept(std::size_t step, const ReconstructionOptions& options,
                        BlockWeights& finished) {
    KeptWeights kept;
    for (const auto& [kind, layer] : history_.layers) {
      if (layer.keep.defined()) kept.emplace(kind, layer.keep);
    }
    finished = reconstructed(finished, kept, options);
    for (auto& [kind, layer] : history_.layers) {
      layer.weight = finished.weight(kind);
      refuse_lost_mask(layer);
    }
    history_.after[step + 1].weights = finished.weights;
    history_.output_errors.clear();  // those of the weights before
  }

  std::optional<SequentialBlock> tokens_when(CalibrationNeed need, StatesAfter after) {
    if (need == CalibrationNeed::None) return std::nullopt;
    return SequentialBlock(*context_.calibration, context_.rotary, context_.compute.target,
                           context_.compute.storage, after);
  }

  std::optional<DenseReference> dense_when(bool wanted) {
    if (!wanted) return std::nullopt;
    return DenseReference(*context_.dense_calibration,
                          to_target(history_.after.front(), context_.compute.target),
                          context_.rotary, context_.compute.target, context_.compute.storage);
  }

  GroupInputs gather(SequentialBlock& tokens, DenseReference* dense, InputGroup group,
                     const BlockWeights& block) {
    const CalibrationNeed need = context_.plan.layer_need;
    if (dense != nullptr) return GroupInputs(dense->gather(tokens, group, block, need));
    return GroupInputs(gather_inputs(tokens, group, block, need));
  }

  /// The mask and quantize steps: all steps of a layer on one set of inputs, which have passed the
  /// finished layers before it.
  void compress_layers() {
    for (std::size_t i = 0; i < context_.plan.steps.size(); ++i) {
      if (is_layer_step(context_.plan.steps[i])) history_.after[i + 1] = history_.cut;
    }
    for (const LinearKind kind : kLinearKinds) {
      const at::Tensor weight = history_.cut.weight(kind).contiguous();
      history_.layers[kind] = {.weight = weight, .dense = weight, .fallbacks = history_.fallbacks};
    }
    BlockWeights finished = history_.cut;
    for (const StepRange piece : pieces_of(context_.plan.steps)) compress_layers(piece, finished);
  }

  /// The steps of one piece, all groups; the last piece ends with the tokens behind the block.
  void compress_layers(StepRange piece, BlockWeights& finished) {
    const Step& last = context_.plan.steps[piece.end - 1];
    const bool trained = reconstructs(last);  // from the states at the block's input
    const bool is_last = piece.end == context_.plan.steps.size();
    const auto after = is_last && !trained ? StatesAfter::Advanced : StatesAfter::Kept;
    std::optional<SequentialBlock> tokens = tokens_when(context_.plan.layer_need, after);
    std::optional<DenseReference> dense = dense_when(context_.plan.masks_for_dense_outputs);
    for (const InputGroup group : kInputGroups) {
      std::optional<GroupInputs> inputs;
      if (tokens) {
        inputs = gather(*tokens, dense ? &*dense : nullptr, group,
                        to_target(finished, context_.compute.target));
      }
      compress_group(group, piece, inputs ? &*inputs : nullptr, finished);
    }
    if (trained) {
      reconstruct_kept(piece.end - 1, std::get<MaskStep>(last.action).reconstruction, finished);
    }
    if (!is_last) return;
    if (tokens && !trained) {
      tokens->finish(to_target(finished, context_.compute.target));
    } else if (context_.calibration != nullptr) {
      advance(*context_.calibration, to_target(finished, context_.compute.target), context_.rotary,
              context_.compute.target);
    }
  }

  /// finished: takes over the group's weights, and the scales of its inputs.
  void compress_group(InputGroup group, StepRange piece, GroupInputs* inputs,
                      BlockWeights& finished) {
    for (const LinearKind kind : layers_of(group)) {
      history_.layers.at(kind).wanted_outputs = wanted_of(kind, inputs, history_);
    }
    for (std::size_t i = piece.begin; i < piece.end; ++i) {
      const Step& step = context_.plan.steps[i];
      if (!is_layer_step(step)) continue;
      note_nearest_errors(group, step, inputs);
      if (scales_inputs_of(step)) {
        scale_inputs(std::get<QuantizeStep>(step.action).method,
                     {.group = group,
                      .layers = history_.layers,
                      .blocks = {&history_.after[i + 1], &finished},
                      .dtype = context_.config.dtype,
                      .num_threads = context_.compute.num_threads},
                     *inputs);
      }
      for (const LinearKind kind : layers_of(group)) {
        const LinearId id{index_.written, kind};
        LayerState& layer = history_.layers.at(kind);
        with_context(concat("compressing ", module_name(id)),
                     [&] { layer = apply(step, id, std::move(layer), inputs); });
        refuse_lost_mask(layer);
        history_.after[i + 1].weight(kind) = layer.weight;
        history_.after[i + 1].activation(kind) = layer.activation;
      }
    }
    for (const LinearKind kind : layers_of(group)) {
      const LayerState& layer = history_.layers.at(kind);
      finished.weight(kind) = layer.weight;
      finished.activation(kind) = layer.activation;
    }
    if (inputs != nullptr && inputs->hessian().defined()) note_errors(group, inputs->hessian());
  }

  /// Of the finished layers, over the energy of the dense ones' outputs.
  void note_errors(InputGroup group, const at::Tensor& moments) {
    const RelativeHessian hessian = relative_hessian(moments);
    for (const LinearKind kind : layers_of(group)) {
      const LayerState& layer = history_.layers.at(kind);
      const double energy = output_energy(layer.dense, hessian);
      const double lost = output_energy(layer.dense - layer.weight, hessian);
      history_.output_errors[kind] = energy > 0 ? lost / energy : 0;
      const auto nearest = history_.nearest_errors.find(kind);
      if (nearest != history_.nearest_errors.end()) nearest->second /= energy > 0 ? energy : 1;
    }
  }

  /// Before a quantize step scales inputs or compensates.
  void note_nearest_errors(InputGroup group, const Step& step, const GroupInputs* inputs) {
    if (!std::holds_alternative<QuantizeStep>(step.action)) return;
    if (inputs == nullptr || !inputs->hessian().defined()) return;
    const RelativeHessian hessian = relative_hessian(inputs->hessian());
    for (const LinearKind kind : layers_of(group)) {
      const std::string module = module_name({index_.written, kind});
      const auto* const form = std::get_if<QuantizedForm>(&context_.plan.forms.at(module));
      if (form == nullptr) continue;
      history_.nearest_errors[kind] = with_context(concat("compressing ", module), [&] {
        return nearest_output_error(history_.layers.at(kind), hessian, form->scheme,
                                    context_.compute.num_threads);
      });
    }
  }

  InputScales awq_scales(const std::vector<std::pair<const LayerState*, QuantizedForm>>& layers,
                         const GroupInputs& inputs,
                         const std::vector<std::int64_t>& of_column) const {
    std::vector<std::pair<const LayerState*, QuantScheme>> grids;
    for (const auto& [layer, form] : layers) grids.emplace_back(layer, form.scheme);
    return search_scales(grids, inputs, of_column, context_.compute.num_threads);
  }

  InputScales smoothing_scales(
      const std::vector<std::pair<const LayerState*, QuantizedForm>>& layers,
      const GroupInputs& inputs, const std::vector<std::int64_t>& of_column) const {
    std::vector<SmoothedLayer> smoothed;
    for (const auto& [layer, form] : layers) {
      smoothed.push_back({.weight = layer->weight,
                          .scheme = form.scheme,
                          .activation = {.rounding = form.activations}});
    }
    const LayerInputs& seen = inputs.layer_inputs();
    return search_smoothing(
        smoothed, {.largest = seen.largest, .sample = seen.sample, .scale_of_column = of_column},
        context_.compute.num_threads);
  }

  /// Searches scales for the layers of a group that will be quantized, and folds them.
  void scale_inputs(const QuantizeMethod& method, const ScaledGroup& scaled,
                    GroupInputs& inputs) const {
    std::vector<std::pair<const LayerState*, QuantizedForm>> rounded;
    for (const LinearKind kind : layers_of(scaled.group)) {
      const auto* const form =
          std::get_if<QuantizedForm>(&context_.plan.forms.at(module_name({index_.written, kind})));
      if (form != nullptr) rounded.emplace_back(&scaled.layers.at(kind), *form);
    }
    if (rounded.empty()) return;
    const std::vector<std::int64_t> of_column =
        scale_of_column(scaled.group, *scaled.blocks.front());
    const InputScales scales = std::holds_alternative<SmoothQuantOptions>(method)
                                   ? smoothing_scales(rounded, inputs, of_column)
                                   : awq_scales(rounded, inputs, of_column);
    for (const LinearKind kind : layers_of(scaled.group)) {
      scaled.layers.at(kind).scale_exponent = scales.exponent;
    }
    if (scales.exponent == 0) return;
    const at::Tensor by_column = at::tensor(scales.by_column, at::kFloat);
    inputs.divide(by_column);
    fold_scales(scaled, by_column);
  }

  LayerState apply(const Step& step, LinearId id, LayerState layer, GroupInputs* inputs) const {
    const std::string module = module_name(id);
    if (const auto* mask = std::get_if<MaskStep>(&step.action)) {
      if (!targets(mask->targets, module)) return layer;
      MaskStep on_layer = *mask;
      on_layer.pattern = pattern_of_module(context_.plan, step, module);
      return mask_layer(std::move(layer), inputs, on_layer, context_.config.dtype);
    }
    const auto& quantize = std::get<QuantizeStep>(step.action);
    const auto* const form = std::get_if<QuantizedForm>(&context_.plan.forms.at(module));
    if (form == nullptr) {
      if (layer.unmasked.defined()) {
        layer.fallbacks.emplace_back("no repair of the mask: the layer is not quantized");
      }
      return layer;
    }
    layer.activation = {.rounding = form->activations};
    return quantize_layer(std::move(layer), inputs, form->scheme, quantize.method,
                          context_.compute.num_threads);
  }

  const BlockIndex index_;
  const BlockContext& context_;
  BlockHistory history_;
  std::optional<HiddenStates> dense_outputs_;
};

}  // namespace

BlockHistory compress_block(BlockWeights dense, BlockIndex index, const BlockContext& context) {
  return BlockCompression(std::move(dense), index, context).run();
}

}  // namespace edgecompress
