#include "pipeline/compression_walk.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "llama/linear_layers.h"
#include "pipeline/block_compression.h"
#include "pipeline/head_steps.h"
#include "pipeline/stored_steps.h"
#include "pipeline/weight_change.h"
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

WeightValue float_value(const at::Tensor& weight) {
  const float* const data = weight.data_ptr<float>();
  return std::vector<float>(data, data + weight.numel());
}

std::vector<float> vector_value(const at::Tensor& values) {
  const at::Tensor contiguous = values.contiguous();
  const float* const data = contiguous.data_ptr<float>();
  return {data, data + contiguous.numel()};
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
        plan_.rounds_only() && !texts_.evaluation
            ? round_block(block)
            : walk_block({.source = block, .written = written});
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
    if (plan_.follows_dense()) {
      dense_calibration_ = std::make_unique<HiddenStates>(*texts_.calibration, dense, storage);
    }
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
    BlockHistory history =
        compress_block(load_block(model_, index.source, compute_.num_threads), index,
                       {.plan = plan_,
                        .config = model_.config(),
                        .compute = compute_,
                        .rotary = rotary_,
                        .calibration = calibration_.get(),
                        .dense_calibration = dense_calibration_.get()});
    for (std::size_t i = 0; i < stages_.size(); ++i) carry(stages_[i], history.after[i]);
    for (const LinearKind kind : kLinearKinds) report_layer({index.written, kind}, history);
    store(index.written, std::move(history));
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
    if (history.nearest_errors.count(id.kind) > 0) {
      report.relative_nearest_error = history.nearest_errors.at(id.kind);
    }
    report.damping_rung = layer.damping_rung;
    report.clipped_share = layer.clipped_share;
    report.input_scale_exponent = layer.scale_exponent;
    report.block_error_before = history.block_error_before;
    report.block_error_after = history.block_error_after;
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
      WeightValue head = compensates_head() ? compensated_head(norm)
                                            : transform_stored(std::string(kHeadModule)).value;
      writer_.write_head(norm, &head);
      if (auto* const codes = std::get_if<QuantizedMatrix>(&head)) head_codes_ = std::move(*codes);
    }
    if (texts_.evaluation) set_heads(norm);
    model_.drop(kHeadModule);
  }

  bool compensates_head() const {
    const auto* const step = step_of<QuantizeStep>(plan_.steps);
    return step != nullptr && step->head_rounding == HeadRounding::Gptq &&
           std::holds_alternative<QuantizedForm>(plan_.forms.find(kHeadModule)->second);
  }

  /// The head rounded for the hidden states that the compressed blocks give; adds its report.
  WeightValue compensated_head(const std::vector<float>& final_norm) {
    const std::string module(kHeadModule);
    const auto* const step = step_of<QuantizeStep>(plan_.steps);
    const QuantScheme& scheme = std::get<QuantizedForm>(plan_.forms.at(module)).scheme;
    GroupInputs inputs(gather_head_inputs(*calibration_, at::tensor(final_norm, at::kFloat),
                                          model_.config().rms_norm_eps));
    NewHead head = with_context(concat("compressing ", module), [&] {
      return quantize_head(model_.matrix(module), inputs, scheme, step->method,
                           compute_.num_threads);
    });
    add_report(module, head.stored.change);
    TensorReport& report = tensors_.back();
    report.relative_output_error = head.relative_output_error;
    report.relative_nearest_error = head.relative_nearest_error;
    report.damping_rung = head.damping_rung;
    report.clipped_share = head.clipped_share;
    report.fallbacks = head.fallbacks;
    return std::move(head.stored.value);
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
