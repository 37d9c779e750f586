#include "pipeline/recipe_run.h"

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/memory_budget.h"
#include "base/sha256.h"
#include "llama/checkpoint_writer.h"
#include "pipeline/artifact_check.h"
#include "pipeline/compression_walk.h"
#include "pipeline/export_run.h"
#include "pipeline/layer_removal.h"
#include "pipeline/mask_survey.h"
#include "pipeline/memory_need.h"
#include "pipeline/recovery.h"
#include "pipeline/run_environment.h"
#include "pipeline/run_fingerprint.h"
#include "pipeline/run_texts.h"
#include "pipeline/tokenizer_warnings.h"
#include "pipeline/weight_change.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {
namespace {

constexpr const char* kCheckpointFolder = "checkpoint";
constexpr const char* kUntrainedFolder = "untrained";
constexpr const char* kDenseArtifactFolder = "dense-artifact";

struct RunTexts {
  WalkTexts walk;
  std::optional<TokenWindows> training;
};

TokenWindows read_calibration(const Recipe& recipe, const ModelFolder& model,
                              const Tokenizer& tokenizer) {
  if (!recipe.calibration) {
    throw Error(ErrorKind::Usage, "R19",
                "a step looks at activations, so calibration text is needed: name one under "
                "calibration: in the recipe, or with --calibration");
  }
  const Calibration& calibration = *recipe.calibration;
  refuse_long_windows(model.config(), calibration.sequence_length, "calibration.sequence_length");
  return read_calibration_windows(
      calibration.text, tokenizer,
      {.length = calibration.sequence_length, .max_count = calibration.samples},
      model.config().vocab_size);
}

TokenWindows read_evaluation(const Evaluation& evaluation, const ModelFolder& model,
                             const Tokenizer& tokenizer) {
  refuse_long_windows(model.config(), evaluation.window, "evaluate.window");
  return read_token_windows(evaluation.text, tokenizer,
                            {.length = evaluation.window, .max_count = evaluation.max_windows},
                            model.config().vocab_size);
}

/// The artifact is scored on the same windows.
void refuse_windows_beyond_artifact(const Recipe& recipe, const LlamaConfig& config) {
  const auto* const step = step_of<ExportStep>(recipe.steps);
  if (step == nullptr) return;
  const std::int64_t context = context_tokens(config, export_options(*step, 1));
  if (recipe.evaluation->window <= context) return;
  throw Error(ErrorKind::Usage, "E-WINDOW",
              concat("evaluate.window is ", recipe.evaluation->window,
                     " tokens, longer than the artifact's context_length of ", context,
                     "; shorten the window, or lengthen the context"));
}

RunTexts read_texts(const Recipe& recipe, const WalkPlan& plan, const ModelFolder& model,
                    std::vector<std::string>& warnings) {
  RunTexts texts;
  const auto* const recovery = step_of<RecoverStep>(recipe.steps);
  if (!plan.needs_text() && !recipe.evaluation && recovery == nullptr) return texts;
  const Tokenizer tokenizer = Tokenizer::open(model.path());
  warnings = tokenizer_warnings(model, tokenizer);
  if (plan.needs_text()) {
    texts.walk.calibration = read_calibration(recipe, model, tokenizer);
  }
  if (recipe.evaluation) {
    refuse_windows_beyond_artifact(recipe, model.config());
    texts.walk.evaluation = read_evaluation(*recipe.evaluation, model, tokenizer);
  }
  if (recovery != nullptr) {
    texts.training = read_training_windows(recovery->text, model, tokenizer);
  }
  return texts;
}

/// Counts the sparsity once more in the files that were written, which is the sparsity that is
/// reported.
void count_written_sparsity(const ModelFolder& written, std::vector<TensorReport>& tensors,
                            int num_threads) {
  for (TensorReport& tensor : tensors) {
    const StoredMatrix matrix = written.matrix(tensor.name);
    const MatrixShape shape = matrix_shape(matrix);
    const auto elements = static_cast<double>(shape.out_features * shape.in_features);
    const double counted = static_cast<double>(count_stored_zeros(matrix, num_threads)) / elements;
    written.drop(tensor.name);
    ensure(counted >= tensor.sparsity, "the written file to hold every zero of the mask");
    tensor.sparsity = counted;
  }
}

/// The dense model as a float artifact of the same format, only to be timed.
DecoderSpeed dense_speed(const ModelFolder& model, ExportOptions exporting, StagedFolder& output,
                         const TokenWindows& windows, const RunOptions& options) {
  exporting.sparse.reset();
  exporting.activations.reset();
  const OnnxArtifact dense = export_onnx(model, exporting, output, kDenseArtifactFolder, {});
  const DecoderSpeed speed =
      artifact_speed({.path = output.path() / dense.graph,
                      .context_tokens = context_tokens(model.config(), exporting)},
                     windows, options);
  std::filesystem::remove_all(output.path() / kDenseArtifactFolder);
  return speed;
}

StageReport artifact_stage(const StageReport& compressed, const ArtifactReport& artifact) {
  StageReport stage = compressed;
  stage.stage = "artifact";
  stage.size_bytes = artifact.size_bytes;
  stage.perplexity = artifact.perplexity_published;
  stage.kl_divergence_nats.reset();
  stage.top1_agreement.reset();
  return stage;
}

class RecipeRun {
 public:
  RecipeRun(const Recipe& recipe, const std::string& command, const RunOptions& options,
            const Progress& progress)
      : recipe_(recipe),
        options_(options),
        progress_(progress),
        model_((check_texts(recipe), ModelFolder::open(options.model))),
        plan_(plan_walk(model_, recipe)),
        output_(options.output, {options.model}, options.existing, Leftovers::Keep),
        report_(report_of_input(model_, command, options, progress)),
        texts_(read_texts(recipe, plan_, model_, text_warnings_)),
        compute_(options.compute),
        journal_(output_, run_fingerprint(command, options, model_, &recipe, &texts_.walk),
                 options.resume) {
    const std::uint64_t budget =
        options.memory_budget > 0 ? options.memory_budget : default_memory_budget();
    MemoryNeed need = memory_need(plan_, text_sizes(texts_.walk));
    if (const auto* const step = step_of<RecoverStep>(recipe_.steps)) {
      add_training_need(need, plan_, *step, {texts_.training->count, texts_.training->length});
    }
    compute_.storage = storage_within(budget, need);
  }

  Report run() {
    survey();
    std::vector<std::string>& warnings = report_.warnings;
    warnings.insert(warnings.end(), plan_.warnings.begin(), plan_.warnings.end());
    warnings.insert(warnings.end(), text_warnings_.begin(), text_warnings_.end());
    warn_of_idle_masks();
    describe_recipe();
    clock_.finish_stage("prepare");
    compress();
    if (const auto* const step = step_of<RecoverStep>(recipe_.steps)) recover_checkpoint(*step);
    describe_checkpoint();
    if (const auto* const step = step_of<ExportStep>(recipe_.steps)) export_artifact(*step);
    publish();
    return report_;
  }

  /// Finished blocks are kept when the same command can end better the next time.
  void give_up_after(const Error& error) {
    const bool may_pass = error.kind() == ErrorKind::Io || error.kind() == ErrorKind::Memory ||
                          error.kind() == ErrorKind::Missing;
    if (!may_pass) output_.delete_unpublished();
  }

 private:
  /// Measures what decisions before the walk need, and makes them.
  void survey() {
    if (!plan_.needs_survey && !plan_.measures_grids() && plan_.removed_by_perplexity == 0) return;
    ModelSurvey survey;
    if (plan_.removed_by_perplexity > 0) {
      survey.removed = blocks_to_remove(model_, *texts_.walk.calibration,
                                        plan_.removed_by_perplexity, compute_, progress_);
    }
    if (plan_.needs_survey) {
      survey.blocks =
          survey_model(model_, *texts_.walk.calibration, plan_.gradients, compute_, progress_);
    }
    if (plan_.spreads_by_loss) spread_masks(survey);
    if (plan_.measures_grids()) {
      const auto* const step = step_of<QuantizeStep>(plan_.steps);
      survey.grid_errors = measure_grid_errors(
          model_, *texts_.walk.calibration,
          {.schemes = candidate_schemes(step->weights), .sensitivity = step->sensitivity}, compute_,
          progress_);
    }
    plan_ = plan_walk(model_, recipe_, survey);
    clock_.finish_stage("survey");
  }

  void spread_masks(ModelSurvey& survey) const {
    const WalkPlan plan = plan_walk(model_, recipe_, survey);  // with the blocks that stay
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      const auto* const mask = std::get_if<MaskStep>(&plan.steps[i].action);
      if (mask == nullptr || mask->allocation != MaskAllocation::Loss) continue;
      survey.sparsities.emplace(
          plan.steps[i].id,
          sparsities_by_loss(
              {.source = model_, .source_blocks = plan.source_blocks, .config = plan.configs[i]},
              *mask, survey.blocks, compute_.num_threads, progress_));
    }
  }

  bool exports() const { return step_of<ExportStep>(recipe_.steps) != nullptr; }

  std::string checkpoint_folder() const { return exports() ? kCheckpointFolder : ""; }

  /// Zeros take as many bytes and as much time as other weights in all that is written here.
  void warn_of_idle_masks() {
    const bool masks = std::any_of(plan_.steps.begin(), plan_.steps.end(), [](const Step& step) {
      return std::holds_alternative<MaskStep>(step.action);
    });
    const auto* const exported = step_of<ExportStep>(recipe_.steps);
    if (!masks || (exported != nullptr && is_sparse(exported->format))) return;
    report_.warnings.push_back(concat(
        "M1: no gain in this format: ",
        exports() ? "ONNX Runtime multiplies by zeros as by other weights"
                  : "a model folder stores zeros as other weights",
        ", so the mask saves neither bytes nor time. The formats genai-sparse and onnx-sparse gain "
        "from masks, cuts (prune, drop_layers) gain in every format"));
  }

  void describe_recipe() {
    report_.recipe = recipe_.source_text;
    if (!recipe_.source_text.empty()) {
      report_.recipe_sha256 = sha256_hex(std::as_bytes(std::span(recipe_.source_text)));
    }
    if (!texts_.walk.evaluation) return;
    report_.evaluation =
        evaluation_report(*recipe_.evaluation, *texts_.walk.evaluation, options_.compute);
  }

  /// Where the walk's checkpoint goes: what is trained afterwards is written once more.
  std::string walked_folder() const {
    return texts_.training ? kUntrainedFolder : checkpoint_folder();
  }

  void compress() {
    CheckpointWriter writer(output_, walked_folder(), plan_.output_config(), plan_.forms);
    WalkJournal journal(output_, journal_);
    walked_ = walk(model_, plan_, texts_.walk, compute_, writer, journal, progress_);
    checkpoint_files_ = writer.finish(model_);
    report_.stages = walked_.stages;
    report_.tensors = walked_.tensors;
    clock_.finish_stage("compress");
  }

  void recover_checkpoint(const RecoverStep& step) {
    const std::filesystem::path untrained = output_.path() / kUntrainedFolder;
    RecoveryReport recovery;
    {
      const ModelFolder start = ModelFolder::open(untrained);
      CheckpointWriter writer(output_, checkpoint_folder(), plan_.output_config(), plan_.forms);
      TrainingJournal journal(output_, journal_);
      recovery = recover({.model = start,
                          .teacher = &model_,
                          .windows = *texts_.training,
                          .options = resolve_training(step.choice, start, &model_),
                          .gate = step.gate},
                         compute_, {.staged = output_, .writer = writer, .journal = journal},
                         {.progress = progress_, .stop_requested = options_.stop_requested});
      checkpoint_files_ = writer.finish(model_);
    }
    const bool changed = recovery.changed();
    add_recovery(report_, std::move(recovery));
    clock_.finish_stage("train");
    if (changed) describe_recovery(step.choice.options.zeros);
  }

  /// What the walk measured of the last stage holds no longer.
  void describe_recovery(ZeroWeights zeros) {
    for (TensorReport& tensor : report_.tensors) {
      tensor.relative_weight_error.reset();
      tensor.relative_output_error.reset();
      tensor.relative_nearest_error.reset();
      if (zeros == ZeroWeights::Free) tensor.sparsity = 0;  // rounding's, which training may fill
    }
    const ModelFolder trained = ModelFolder::open(output_.path() / checkpoint_folder());
    StageReport stage = report_.stages.back();
    stage.stage = "recovered";
    stage.sparsity = linear_sparsity(trained, options_.compute.num_threads);
    if (texts_.walk.evaluation) score_recovered(trained, stage);
    report_.stages.push_back(stage);
  }

  void score_recovered(const ModelFolder& trained, StageReport& stage) {
    const TokenWindows& windows = *texts_.walk.evaluation;
    HiddenStates dense = final_hidden_states(model_, windows, compute_, progress_);
    const LanguageModelHead dense_head = load_head(model_, compute_.num_threads);
    walked_.final_states =
        std::make_unique<HiddenStates>(final_hidden_states(trained, windows, compute_, progress_));
    walked_.head = load_head(trained, compute_.num_threads);
    const LanguageModelScores scores =
        score_windows(windows, window_logits(*walked_.final_states, walked_.head),
                      window_logits(dense, dense_head));
    stage.perplexity = scores.perplexity;
    stage.kl_divergence_nats = scores.kl_divergence_nats;
    stage.top1_agreement = scores.top1_agreement;
    clock_.finish_stage("score_recovered");
  }

  void describe_checkpoint() {
    compressed_ =
        std::make_unique<ModelFolder>(ModelFolder::open(output_.path() / checkpoint_folder()));
    count_written_sparsity(*compressed_, report_.tensors, options_.compute.num_threads);
    report_.parameters_after = total_parameters(compressed_->config());
    report_.bytes_after = static_cast<std::int64_t>(compressed_->store().total_bytes());
    report_.stages.back().size_bytes = report_.bytes_after;
    report_.sparsity = report_.stages.back().sparsity;
    clock_.finish_stage("count_sparsity");
  }

  void export_artifact(const ExportStep& step) {
    const ExportOptions exporting =
        with_operator_library(export_options(step, options_.compute.num_threads));
    const OnnxArtifact artifact = export_onnx(*compressed_, exporting, output_, "", progress_);
    artifact_files_ = artifact.file_sha256;
    add_export_warnings(report_, model_, exporting, artifact);
    clock_.finish_stage("export");

    const RunnableGraph graph{.path = output_.path() / artifact.graph,
                              .context_tokens = context_tokens(model_.config(), exporting)};
    report_.artifact =
        describe_artifact(*compressed_, exporting, artifact, check(graph, exporting));
    report_.bytes_after = report_.artifact->size_bytes;
    report_.stages.push_back(artifact_stage(report_.stages.back(), *report_.artifact));
    if (options_.speed_test == SpeedTest::Run) time_artifact(exporting, graph);
  }

  /// The compressed model's states once more, its inputs rounded as the artifact does it.
  void evaluate_as_artifact(ActivationRounding rounding) {
    EvaluationOptions as_artifact = compute_;
    as_artifact.activations = rounding;
    walked_.final_states = std::make_unique<HiddenStates>(
        final_hidden_states(*compressed_, *texts_.walk.evaluation, as_artifact, progress_));
    walked_.head = evaluated_head(*compressed_, as_artifact);
  }

  ArtifactReport check(const RunnableGraph& graph, const ExportOptions& exporting) {
    if (options_.artifact_check == ArtifactCheck::Skip) return {};
    const ArtifactActivations activations = artifact_activations(*compressed_, exporting);
    const ArtifactTolerance tolerance = artifact_tolerance(exporting, activations.rounding);
    ArtifactReport checked;
    if (walked_.final_states != nullptr) {
      if (activations.instead) evaluate_as_artifact(*activations.instead);
      checked = check_artifact(graph.path,
                               {.windows = *texts_.walk.evaluation,
                                .origin = WindowOrigin::Text,
                                .logits = window_logits(*walked_.final_states, walked_.head),
                                .tolerance = tolerance},
                               options_);
    } else {
      RunOptions as_artifact = options_;
      as_artifact.compute.activations = activations.instead;
      checked = check_on_random_tokens(*compressed_, graph, tolerance, as_artifact, progress_);
    }
    clock_.finish_stage("check_artifact");
    return checked;
  }

  void time_artifact(const ExportOptions& exporting, const RunnableGraph& graph) {
    const TokenWindows windows = texts_.walk.evaluation
                                     ? *texts_.walk.evaluation
                                     : random_check_windows(model_.config(), graph.context_tokens);
    dense_speed_ = dense_speed(model_, exporting, output_, windows, options_);
    artifact_speed_ = artifact_speed(graph, windows, options_);
    clock_.finish_stage("time_artifact");
  }

  void publish() {
    std::vector<std::string> discarded{kUntrainedFolder, kTrainedBlocksFolder};
    std::map<std::string, std::string> files = artifact_files_;
    compressed_.reset();
    if (exports() && options_.checkpoint == Checkpoint::Discard) {
      discarded.emplace_back(kCheckpointFolder);
    } else {
      files.insert(checkpoint_files_.begin(), checkpoint_files_.end());
    }
    report_.environment = clock_.environment(options_.compute.num_threads);
    if (artifact_speed_) {
      report_.environment.dense_prefill_tokens_per_second = dense_speed_->prefill_tokens_per_second;
      report_.environment.dense_decode_tokens_per_second = dense_speed_->decode_tokens_per_second;
      report_.environment.artifact_prefill_tokens_per_second =
          artifact_speed_->prefill_tokens_per_second;
      report_.environment.artifact_decode_tokens_per_second =
          artifact_speed_->decode_tokens_per_second;
    }
    report_.gates = judge(recipe_.gates, report_);
    if (options_.gate_failure == GateFailure::Discard && !all_passed(report_.gates)) {
      output_.delete_unpublished();
      return;
    }
    publish_with_report(output_, report_, std::move(files), options_.model, discarded);
  }

  const Recipe& recipe_;
  const RunOptions& options_;
  const Progress& progress_;
  RunClock clock_;
  const ModelFolder model_;
  WalkPlan plan_;
  StagedFolder output_;
  Report report_;
  std::vector<std::string> text_warnings_;  // before texts_, whose reading fills it
  const RunTexts texts_;
  EvaluationOptions compute_;
  RunJournal journal_;
  WalkResult walked_;
  std::unique_ptr<ModelFolder> compressed_;
  std::map<std::string, std::string> checkpoint_files_;
  std::map<std::string, std::string> artifact_files_;
  std::optional<DecoderSpeed> dense_speed_;
  std::optional<DecoderSpeed> artifact_speed_;
};

}  // namespace

Report run_recipe(const Recipe& recipe, const std::string& command, const RunOptions& options,
                  const Progress& progress) {
  RecipeRun run(recipe, command, options, progress);
  try {
    return run.run();
  } catch (const Error& error) {
    run.give_up_after(error);
    throw;
  }
}

}  // namespace edgecompress
