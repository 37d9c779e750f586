#include "pipeline/compression_walk.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "calibrate/dense_reference.h"
#include "calibrate/layer_inputs.h"
#include "llama/linear_layers.h"
#include "methods/method_names.h"
#include "pipeline/block_cut.h"
#include "pipeline/input_scaling.h"
#include "pipeline/input_smoothing.h"
#include "pipeline/layer_steps.h"
#include "pipeline/stored_steps.h"
#include "pipeline/weight_change.h"
#include "stats/hessian.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

/// The model as it is after some of the steps, on its way through the blocks.
struct Stage {
  std::unique_ptr<HiddenStates> states;  // nullptr without evaluation tokens
  std::int64_t zeros = 0;
  std::int64_t weights = 0;
  LanguageModelHead head;
};

/// One block after each of the steps, and what is reported of its layers.
struct BlockHistory {
  std::vector<BlockWeights> after;  ///< [0] dense, [i + 1] after step i
  BlockWeights cut;                 ///< after the prune steps
  std::map<LinearKind, LayerState> layers;
  std::map<LinearKind, double> output_errors;
  std::vector<std::string> fallbacks;
};

WeightValue float_value(const at::Tensor& weight) {
  const float* const data = weight.data_ptr<float>();
  return std::vector<float>(data, data + weight.numel());
}

std::vector<float> vector_value(const at::Tensor& values) {
  const at::Tensor contiguous = values.contiguous();
  const float* const data = contiguous.data_ptr<float>();
  return {data, data + contiguous.numel()};
}

void refuse_lost_mask(const LayerState& layer) {
  if (!layer.keep.defined()) return;
  const at::Tensor dropped = layer.weight.masked_select(layer.keep.logical_not());
  ensure(dropped.eq(0).all().item<bool>(), "masked weights to be exactly zero after every step");
}

std::vector<LinearKind> layers_of(InputGroup group) {
  std::vector<LinearKind> kinds;
  for (const LinearKind kind : kLinearKinds) {
    if (input_group(kind) == group) kinds.push_back(kind);
  }
  return kinds;
}

class Walk {
 public:
  Walk(const ModelFolder& model, const WalkPlan& plan, const WalkTexts& texts,
       const EvaluationOptions& compute, CheckpointWriter& writer, WalkJournal& journal)
      : model_(model),
        plan_(plan),
        texts_(texts),
        compute_(compute),
        writer_(writer),
        journal_(journal),
        rotary_(make_rotary_table(model.config(), longest_window(), compute.target.device)) {
    stages_.resize(plan.steps.size() + 1);
  }

  WalkResult run(const Progress& progress) {
    const std::int64_t blocks = model_.config().num_blocks();
    const std::optional<WalkProgress> done = journal_.resumed();
    if (done) writer_.resume(done->shards);
    start_with_embedding();
    if (done) {
      restore(*done);
    } else {
      note(0);
    }
    const std::int64_t first = done ? done->blocks_done : 0;
    std::int64_t written = blocks_written_before(first);
    for (std::int64_t block = first; block < blocks; ++block) {
      with_context(concat("compressing decoder block ", block), [&] {
        if (is_left_out(block, written)) return leave_out(block);
        rounds_only() ? round_block(block) : walk_block({.source = block, .written = written});
        ++written;
      });
      note(block + 1);
      if (progress) progress({"compress", block + 1, blocks});
    }
    finish_with_head();
    model_.store().ensure_unchanged();
    return results();
  }

 private:
  /// In the order in which they are noted.
  std::vector<HiddenStates*> carried_states() const {
    std::vector<HiddenStates*> states;
    if (calibration_ != nullptr) states.push_back(calibration_.get());
    if (dense_calibration_ != nullptr) states.push_back(dense_calibration_.get());
    for (const Stage& stage : stages_) {
      if (stage.states != nullptr) states.push_back(stage.states.get());
    }
    return states;
  }

  void restore(const WalkProgress& done) {
    ensure(done.stages.size() == stages_.size(), "the journal of this very plan");
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      stages_[i].zeros = done.stages[i].zeros;
      stages_[i].weights = done.stages[i].weights;
    }
    tensors_ = done.tensors;
    journal_.restore(carried_states());
  }

  void note(std::int64_t blocks_done) {
    WalkProgress progress{
        .blocks_done = blocks_done, .stages = {}, .tensors = tensors_, .shards = writer_.written()};
    for (const Stage& stage : stages_) {
      progress.stages.push_back({.zeros = stage.zeros, .weights = stage.weights});
    }
    journal_.note(progress, model_.config().num_blocks(), carried_states());
  }

  /// A block by its index in the model that is read and in the one that is written.
  struct BlockIndex {
    std::int64_t source;
    std::int64_t written;
  };

  bool is_left_out(std::int64_t block, std::int64_t written) const {
    const auto at = static_cast<std::size_t>(written);
    return at >= plan_.source_blocks.size() || plan_.source_blocks[at] != block;
  }

  /// How many of the model's first blocks are in the one that is written.
  std::int64_t blocks_written_before(std::int64_t block) const {
    const auto end =
        std::lower_bound(plan_.source_blocks.begin(), plan_.source_blocks.end(), block);
    return end - plan_.source_blocks.begin();
  }

  /// Only the dense model has this block.
  void leave_out(std::int64_t index) {
    const BlockWeights block = load_block(model_, index, compute_.num_threads);
    carry(stages_.front(), block);
    if (dense_calibration_ == nullptr) return;
    advance(*dense_calibration_, to_target(block, compute_.target), rotary_, compute_.target);
  }

  std::int64_t longest_window() const {
    const auto length = [](const std::optional<TokenWindows>& windows) {
      return windows ? windows->length : std::int64_t{1};
    };
    return std::max(length(texts_.calibration), length(texts_.evaluation));
  }

  bool is_quantized_stage(std::size_t stage) const {
    return stage > 0 && std::holds_alternative<QuantizeStep>(plan_.steps[stage - 1].action);
  }

  /// The matrix quantized, or not, as the plan wants it stored; adds its report.
  NewMatrix transform_stored(const std::string& module) {
    const StoredMatrix matrix = model_.matrix(module);
    const auto* const step = step_of<QuantizeStep>(plan_.steps);
    const auto* const grid = std::get_if<QuantizedForm>(&plan_.forms.find(module)->second);
    NewMatrix stored = with_context(concat("compressing ", module), [&] {
      return step == nullptr || grid == nullptr
                 ? keep_stored(matrix, compute_.num_threads)
                 : quantize_stored(matrix, grid->scheme, step->method, compute_.num_threads);
    });
    add_report(module, stored.change);
    return stored;
  }

  void start_with_embedding() {
    WeightValue table = transform_stored(std::string(kEmbeddingModule)).value;
    const StoredMatrix dense = model_.matrix(kEmbeddingModule);
    const auto* const codes = std::get_if<QuantizedMatrix>(&table);
    if (codes != nullptr && (texts_.evaluation || plan_.needs_calibration())) {
      start_states(dense, dequantized(*codes, compute_.num_threads));
    } else {
      start_states(dense, dense);
    }
    model_.drop(kEmbeddingModule);
    writer_.write_embedding(table);
    if (model_.config().tie_word_embeddings && codes != nullptr && texts_.evaluation) {
      head_codes_ = std::move(std::get<QuantizedMatrix>(table));
    }
  }

  /// compressed: a matrix in either form.
  template <typename Embedding>
  void start_states(const StoredMatrix& dense, const Embedding& compressed) {
    const HiddenStateStorage& storage = compute_.storage;
    for (std::size_t i = 0; i < stages_.size() && texts_.evaluation; ++i) {
      stages_[i].states =
          is_quantized_stage(i)
              ? std::make_unique<HiddenStates>(*texts_.evaluation, compressed, storage)
              : std::make_unique<HiddenStates>(*texts_.evaluation, dense, storage);
    }
    if (plan_.needs_calibration()) {
      calibration_ = std::make_unique<HiddenStates>(*texts_.calibration, compressed, storage);
    }
    if (plan_.cuts_for_dense_outputs || plan_.masks_for_dense_outputs) {
      dense_calibration_ = std::make_unique<HiddenStates>(*texts_.calibration, dense, storage);
    }
  }

  /// The prune steps: each chooses, cuts and repairs, seeing what flows into this block.
  void cut(BlockIndex index, BlockHistory& history) {
    history.cut = history.after.front();
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      if (std::holds_alternative<DropLayersStep>(step.action)) history.after[i + 1] = history.cut;
      const auto* const prune = std::get_if<PruneStep>(&step.action);
      if (prune == nullptr) continue;
      StructuredCut cut = prune->cut;
      if (auto* const random = std::get_if<RandomScore>(&cut.score)) {
        *random = random_score_of_block(*random, index.source);
      }
      std::optional<SequentialBlock> tokens = tokens_when(plan_.cut_need);
      std::optional<DenseReference> dense =
          dense_when(cut.repair == CutRepair::DenseOutputs, history);
      CutResult result = prune_block(
          history.cut, {.block = tokens ? &*tokens : nullptr, .dense = dense ? &*dense : nullptr},
          cut, plan_.widths.at(step.id)[static_cast<std::size_t>(index.written)],
          model_.config().dtype);
      history.cut = std::move(result.block);
      history.fallbacks.insert(history.fallbacks.end(), result.fallbacks.begin(),
                               result.fallbacks.end());
      history.after[i + 1] = history.cut;
    }
  }

  std::optional<SequentialBlock> tokens_when(CalibrationNeed need) {
    if (need == CalibrationNeed::None) return std::nullopt;
    return SequentialBlock(*calibration_, rotary_, compute_.target, compute_.storage);
  }

  std::optional<DenseReference> dense_when(bool wanted, const BlockHistory& history) {
    if (!wanted) return std::nullopt;
    return DenseReference(*dense_calibration_, to_target(history.after.front(), compute_.target),
                          rotary_, compute_.target, compute_.storage);
  }

  GroupInputs gather(SequentialBlock& tokens, DenseReference* dense, InputGroup group,
                     const BlockWeights& block) {
    if (dense != nullptr) return GroupInputs(dense->gather(tokens, group, block));
    return GroupInputs(gather_inputs(
        tokens, group, block,
        plan_.layer_need == CalibrationNeed::Hessian ? InputDetail::Hessian : InputDetail::Norms));
  }

  /// The mask and quantize steps: all steps of a layer on one set of inputs, which have passed the
  /// finished layers before it.
  void compress_layers(std::int64_t index, BlockHistory& history) {
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      if (is_layer_step(plan_.steps[i])) history.after[i + 1] = history.cut;
    }
    BlockWeights finished = history.cut;
    std::optional<SequentialBlock> tokens = tokens_when(plan_.layer_need);
    std::optional<DenseReference> dense = dense_when(plan_.masks_for_dense_outputs, history);
    for (const InputGroup group : kInputGroups) {
      std::optional<GroupInputs> inputs;
      if (tokens) {
        inputs =
            gather(*tokens, dense ? &*dense : nullptr, group, to_target(finished, compute_.target));
      }
      compress_group(index, group, inputs ? &*inputs : nullptr, history, finished);
    }
    if (tokens) {
      tokens->finish(to_target(finished, compute_.target));
    } else if (calibration_ != nullptr) {
      advance(*calibration_, to_target(finished, compute_.target), rotary_, compute_.target);
    }
  }

  /// The dense layer's outputs. Where a cut took rows away, those that stay are the dense layer's.
  static at::Tensor wanted(LinearKind kind, const GroupInputs* inputs,
                           const BlockHistory& history) {
    if (inputs == nullptr || !inputs->dense()) return {};
    const bool writes_to_residual = kind == LinearKind::O || kind == LinearKind::Down;
    const BlockWeights& dense = writes_to_residual ? history.after.front() : history.cut;
    return wanted_outputs(dense.weight(kind), *inputs->dense());
  }

  /// finished: takes over the group's weights, and the scales of its inputs.
  void compress_group(std::int64_t index, InputGroup group, GroupInputs* inputs,
                      BlockHistory& history, BlockWeights& finished) {
    for (const LinearKind kind : layers_of(group)) {
      const at::Tensor weight = history.cut.weight(kind).contiguous();
      history.layers[kind] = {.weight = weight,
                              .dense = weight,
                              .wanted_outputs = wanted(kind, inputs, history),
                              .fallbacks = history.fallbacks};
    }
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      if (!is_layer_step(step)) continue;
      if (scales_inputs(step)) {
        scale_inputs(index, std::get<QuantizeStep>(step.action).method,
                     {.group = group,
                      .layers = history.layers,
                      .blocks = {&history.after[i + 1], &finished},
                      .dtype = model_.config().dtype,
                      .num_threads = compute_.num_threads},
                     *inputs);
      }
      for (const LinearKind kind : layers_of(group)) {
        const LinearId id{index, kind};
        LayerState& layer = history.layers.at(kind);
        with_context(concat("compressing ", module_name(id)),
                     [&] { layer = apply(step, id, std::move(layer), inputs); });
        refuse_lost_mask(layer);
        history.after[i + 1].weight(kind) = layer.weight;
        history.after[i + 1].activation(kind) = layer.activation;
      }
    }
    for (const LinearKind kind : layers_of(group)) {
      const LayerState& layer = history.layers.at(kind);
      finished.weight(kind) = layer.weight;
      finished.activation(kind) = layer.activation;
      if (inputs == nullptr || !inputs->hessian().defined()) continue;
      const double energy = output_energy(layer.dense, inputs->hessian());
      const double lost = output_energy(layer.dense - layer.weight, inputs->hessian());
      history.output_errors[kind] = energy > 0 ? lost / energy : 0;
    }
  }

  static bool scales_inputs(const Step& step) {
    const auto* const quantize = std::get_if<QuantizeStep>(&step.action);
    return quantize != nullptr && edgecompress::scales_inputs(quantize->method);
  }

  InputScales awq_scales(const std::vector<std::pair<const LayerState*, QuantizedForm>>& layers,
                         const GroupInputs& inputs,
                         const std::vector<std::int64_t>& of_column) const {
    std::vector<std::pair<const LayerState*, QuantScheme>> grids;
    for (const auto& [layer, form] : layers) grids.emplace_back(layer, form.scheme);
    return search_scales(grids, inputs, of_column, compute_.num_threads);
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
        compute_.num_threads);
  }

  /// Searches scales for the layers of a group that will be quantized, and folds them.
  void scale_inputs(std::int64_t index, const QuantizeMethod& method, const ScaledGroup& scaled,
                    GroupInputs& inputs) const {
    std::vector<std::pair<const LayerState*, QuantizedForm>> rounded;
    for (const LinearKind kind : layers_of(scaled.group)) {
      const auto* const form =
          std::get_if<QuantizedForm>(&plan_.forms.at(module_name({index, kind})));
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
      MaskStep on_block = *mask;
      on_block.pattern = pattern_of_block(plan_, step, id.block);
      return mask_layer(std::move(layer), inputs, on_block, model_.config().dtype);
    }
    const auto& quantize = std::get<QuantizeStep>(step.action);
    const auto* const form = std::get_if<QuantizedForm>(&plan_.forms.at(module));
    if (form == nullptr) return layer;
    layer.activation = {.rounding = form->activations};
    return quantize_layer(std::move(layer), inputs, form->scheme, quantize.method,
                          compute_.num_threads);
  }

  void carry(Stage& stage, const BlockWeights& block) {
    for (const at::Tensor& weight : block.weights) {
      stage.zeros += count_zeros(weight, compute_.num_threads);
      stage.weights += weight.numel();
    }
    if (stage.states == nullptr) return;
    advance(*stage.states, to_target(block, compute_.target), rotary_, compute_.target);
  }

  void walk_block(BlockIndex index) {
    BlockHistory history;
    history.after.resize(plan_.steps.size() + 1);
    history.after[0] = load_block(model_, index.source, compute_.num_threads);
    cut(index, history);
    compress_layers(index.written, history);
    if (dense_calibration_ != nullptr) {
      advance(*dense_calibration_, to_target(history.after.front(), compute_.target), rotary_,
              compute_.target);
    }
    for (std::size_t i = 0; i < stages_.size(); ++i) carry(stages_[i], history.after[i]);
    for (const LinearKind kind : kLinearKinds) report_layer({index.written, kind}, history);
    store(index.written, std::move(history));
  }

  /// Whether weights go to a grid without calibration and nothing is carried along: then no block
  /// is needed in memory as floats.
  bool rounds_only() const {
    const auto* const step = step_of<QuantizeStep>(plan_.steps);
    return step != nullptr && plan_.steps.size() == 1 && !texts_.evaluation &&
           calibration_need(step->method) == CalibrationNeed::None;
  }

  void round_block(std::int64_t index) {
    std::map<LinearKind, WeightValue> weights;
    for (const LinearKind kind : kLinearKinds) {
      const std::string module = module_name({index, kind});
      NewMatrix rounded = transform_stored(module);
      model_.drop(module);
      stages_.front().zeros += rounded.change.zeros_before;
      stages_.back().zeros += rounded.change.zeros;
      for (Stage& stage : stages_) stage.weights += rounded.change.count;
      weights.emplace(kind, std::move(rounded.value));
    }
    writer_.write_block(index, weights, stored_vectors(index));
  }

  /// Norms and biases as the model has them.
  std::map<std::string, std::vector<float>> stored_vectors(std::int64_t index) const {
    std::vector<std::string> names{input_norm_module(index) + ".weight",
                                   post_attention_norm_module(index) + ".weight"};
    for (const LinearKind kind : kLinearKinds) {
      if (has_bias(model_.config(), kind)) names.push_back(module_name({index, kind}) + ".bias");
    }
    std::map<std::string, std::vector<float>> vectors;
    for (const std::string& name : names) vectors.emplace(name, model_.vector(name));
    return vectors;
  }

  void report_layer(LinearId id, const BlockHistory& history) {
    const LayerState& layer = history.layers.at(id.kind);
    add_report(module_name(id), change_between(layer.dense, layer.weight, compute_.num_threads));
    TensorReport& report = tensors_.back();
    if (history.output_errors.count(id.kind) > 0) {
      report.relative_output_error = history.output_errors.at(id.kind);
    }
    report.damping_rung = layer.damping_rung;
    report.clipped_share = layer.clipped_share;
    report.input_scale_exponent = layer.scale_exponent;
    report.fallbacks = layer.fallbacks;
  }

  void store(std::int64_t index, BlockHistory history) {
    const BlockWeights& block = history.after.back();
    std::map<LinearKind, WeightValue> weights;
    std::map<std::string, std::vector<float>> vectors{
        {input_norm_module(index) + ".weight", vector_value(block.input_norm)},
        {post_attention_norm_module(index) + ".weight", vector_value(block.post_attention_norm)}};
    for (auto& [kind, layer] : history.layers) {
      weights.emplace(
          kind, layer.codes ? WeightValue(std::move(*layer.codes)) : float_value(layer.weight));
      if (block.bias(kind).defined()) {
        vectors.emplace(module_name({index, kind}) + ".bias", vector_value(block.bias(kind)));
      }
    }
    writer_.write_block(index, weights, vectors);
  }

  void finish_with_head() {
    const std::vector<float> norm = model_.vector(concat(kFinalNormModule, ".weight"));
    if (model_.config().tie_word_embeddings) {
      writer_.write_head(norm, nullptr);
    } else {
      WeightValue head = transform_stored(std::string(kHeadModule)).value;
      writer_.write_head(norm, &head);
      if (auto* const codes = std::get_if<QuantizedMatrix>(&head)) head_codes_ = std::move(*codes);
    }
    if (texts_.evaluation) set_heads(norm);
    model_.drop(kHeadModule);
  }

  void set_heads(const std::vector<float>& norm) {
    const at::Tensor dense = load_matrix(model_.matrix(kHeadModule), compute_.num_threads);
    const at::Tensor compressed =
        head_codes_ ? dequantized(*head_codes_, compute_.num_threads) : dense;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      stages_[i].head = {.final_norm = at::tensor(norm, at::kFloat),
                         .weight = is_quantized_stage(i) ? compressed : dense,
                         .rms_norm_eps = model_.config().rms_norm_eps};
    }
  }

  /// change: from the tensor after cutting, before masks and rounding, to what is written.
  void add_report(const std::string& module, const WeightChange& change) {
    TensorReport report = planned_tensor_report(model_, plan_, module);
    report.sparsity = change.sparsity();
    report.relative_weight_error = change.relative_error();
    tensors_.push_back(std::move(report));
  }

  WalkResult results() {
    WalkResult result;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      Stage& stage = stages_[i];
      StageReport report = planned_stage_report(model_, plan_, i);
      report.sparsity = static_cast<double>(stage.zeros) / static_cast<double>(stage.weights);
      if (stage.states != nullptr) add_scores(report, stage);
      result.stages.push_back(report);
    }
    result.tensors = std::move(tensors_);
    result.head = stages_.back().head;
    result.final_states = std::move(stages_.back().states);
    return result;
  }

  void add_scores(StageReport& report, Stage& stage) {
    Stage& dense = stages_.front();
    const WindowLogits reference = window_logits(*dense.states, dense.head);
    const LanguageModelScores scores =
        score_windows(*texts_.evaluation, window_logits(*stage.states, stage.head), reference);
    report.perplexity = scores.perplexity;
    report.kl_divergence_nats = scores.kl_divergence_nats;
    report.top1_agreement = scores.top1_agreement;
  }

  const ModelFolder& model_;
  const WalkPlan& plan_;
  const WalkTexts& texts_;
  const EvaluationOptions& compute_;
  CheckpointWriter& writer_;
  WalkJournal& journal_;
  RotaryTable rotary_;
  std::vector<Stage> stages_;
  std::unique_ptr<HiddenStates> calibration_;
  std::unique_ptr<HiddenStates> dense_calibration_;  // of the uncompressed model; or nullptr
  std::optional<QuantizedMatrix> head_codes_;  // for evaluation; absent when the head stays float
  std::vector<TensorReport> tensors_;
};

}  // namespace

WalkResult walk(const ModelFolder& model, const WalkPlan& plan, const WalkTexts& texts,
                const EvaluationOptions& compute, CheckpointWriter& writer, WalkJournal& journal,
                const Progress& progress) {
  ensure(!plan.needs_calibration() || texts.calibration.has_value(), "calibration tokens");
  return Walk(model, plan, texts, compute, writer, journal).run(progress);
}

}  // namespace edgecompress
