#include "pipeline/recipe_run.h"

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "llama/checkpoint_writer.h"
#include "pipeline/artifact_check.h"
#include "pipeline/compression_walk.h"
#include "pipeline/export_run.h"
#include "pipeline/run_environment.h"
#include "pipeline/weight_change.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {
namespace {

constexpr const char* kCheckpointFolder = "checkpoint";
constexpr const char* kDenseArtifactFolder = "dense-artifact";
constexpr std::int64_t kRowsAtOnce = 256;

const ExportStep* export_step(const Recipe& recipe) {
  for (const Step& step : recipe.steps) {
    if (const auto* exporting = std::get_if<ExportStep>(&step.action)) return exporting;
  }
  return nullptr;
}

void refuse_long_windows(const LlamaConfig& config, std::int64_t length, const std::string& key) {
  if (length <= config.max_position_embeddings) return;
  throw Error(ErrorKind::Usage, "E-WINDOW",
              concat(key, " is ", length, " tokens, longer than the model's context of ",
                     config.max_position_embeddings, "; set it to that or less"));
}

WalkTexts read_texts(const Recipe& recipe, const WalkPlan& plan, const ModelFolder& model) {
  WalkTexts texts;
  if (!plan.needs_calibration() && !recipe.evaluation) return texts;
  const Tokenizer tokenizer = Tokenizer::open(model.path());
  const std::int64_t vocab_size = model.config().vocab_size;
  if (plan.needs_calibration()) {
    if (!recipe.calibration) {
      throw Error(ErrorKind::Usage, "R19",
                  "a step looks at activations, so calibration text is needed: name one under "
                  "calibration: in the recipe, or with --calibration");
    }
    const Calibration& calibration = *recipe.calibration;
    refuse_long_windows(model.config(), calibration.sequence_length, "calibration.sequence_length");
    texts.calibration = read_calibration_windows(
        calibration.text, tokenizer,
        {.length = calibration.sequence_length, .max_count = calibration.samples}, vocab_size);
  }
  if (recipe.evaluation) {
    const Evaluation& evaluation = *recipe.evaluation;
    refuse_long_windows(model.config(), evaluation.window, "evaluate.window");
    texts.evaluation = read_token_windows(
        evaluation.text, tokenizer,
        {.length = evaluation.window, .max_count = evaluation.max_windows}, vocab_size);
  }
  return texts;
}

std::int64_t count_zeros(const StoredMatrix& matrix, int num_threads) {
  const MatrixShape shape = matrix_shape(matrix);
  const std::int64_t pieces = (shape.out_features + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<std::int64_t> zeros(static_cast<std::size_t>(pieces));
  parallel_for(pieces, 1, num_threads, [&](std::int64_t piece, std::int64_t) {
    const std::int64_t begin = piece * kRowsAtOnce;
    const std::int64_t end = std::min(begin + kRowsAtOnce, shape.out_features);
    std::vector<float> rows(static_cast<std::size_t>((end - begin) * shape.in_features));
    read_rows(matrix, begin, end, rows);
    zeros[static_cast<std::size_t>(piece)] = edgecompress::count_zeros(rows);
  });
  std::int64_t total = 0;
  for (const std::int64_t count : zeros) total += count;
  return total;
}

/// Counts the sparsity once more in the files that were written, which is the sparsity that is
/// reported.
void count_written_sparsity(const ModelFolder& written, std::vector<TensorReport>& tensors,
                            int num_threads) {
  for (TensorReport& tensor : tensors) {
    const StoredMatrix matrix = written.matrix(tensor.name);
    const MatrixShape shape = matrix_shape(matrix);
    const auto elements = static_cast<double>(shape.out_features * shape.in_features);
    const double counted = static_cast<double>(count_zeros(matrix, num_threads)) / elements;
    written.drop(tensor.name);
    ensure(counted >= tensor.sparsity, "the written file to hold every zero of the mask");
    tensor.sparsity = counted;
  }
}

/// The dense model as a float artifact of the same format, only to be timed.
DecoderSpeed dense_speed(const ModelFolder& model, const ExportOptions& exporting,
                         StagedFolder& output, const TokenWindows& windows,
                         const RunOptions& options) {
  const OnnxArtifact dense = export_onnx(model, exporting, output, kDenseArtifactFolder, {});
  const DecoderSpeed speed = artifact_speed(output.path() / dense.graph, windows, options);
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
  RecipeRun(const Recipe& recipe, const RunOptions& options, const Progress& progress)
      : recipe_(recipe),
        options_(options),
        progress_(progress),
        model_((check_texts(recipe), ModelFolder::open(options.model))),
        plan_(plan_walk(model_, recipe)),
        output_(options.output, {options.model}, options.existing),
        texts_(read_texts(recipe, plan_, model_)) {}

  Report run(const std::string& command) {
    report_ = report_of_input(model_, command);
    report_.warnings.insert(report_.warnings.end(), plan_.warnings.begin(), plan_.warnings.end());
    describe_recipe();
    clock_.finish_stage("prepare");
    compress();
    if (const ExportStep* const step = export_step(recipe_)) export_artifact(*step);
    publish();
    return report_;
  }

 private:
  bool exports() const { return export_step(recipe_) != nullptr; }

  std::string checkpoint_folder() const { return exports() ? kCheckpointFolder : ""; }

  void describe_recipe() {
    report_.recipe = recipe_.source_text;
    if (!recipe_.source_text.empty()) {
      report_.recipe_sha256 = sha256_hex(std::as_bytes(std::span(recipe_.source_text)));
    }
    if (!texts_.evaluation) return;
    const TokenWindows& windows = *texts_.evaluation;
    report_.evaluation = EvaluationReport{
        .protocol = recipe_.evaluation->protocol,
        .text = windows.source,
        .window = windows.length,
        .windows = windows.count,
        .target_tokens = windows.count * (windows.length - 1),
        .token_sha256 = windows.sha256,
        .dtype = options_.compute.target.dtype == at::kBFloat16 ? "bfloat16" : "float32"};
  }

  void compress() {
    CheckpointWriter writer(output_, checkpoint_folder(), plan_.output_config(), plan_.forms);
    walked_ = walk(model_, plan_, texts_, options_.compute, writer, progress_);
    checkpoint_files_ = writer.finish(model_);
    clock_.finish_stage("compress");

    compressed_ =
        std::make_unique<ModelFolder>(ModelFolder::open(output_.path() / checkpoint_folder()));
    count_written_sparsity(*compressed_, walked_.tensors, options_.compute.num_threads);
    report_.stages = walked_.stages;
    report_.tensors = walked_.tensors;
    report_.parameters_after = total_parameters(compressed_->config());
    report_.bytes_after = static_cast<std::int64_t>(compressed_->store().total_bytes());
    report_.stages.back().size_bytes = report_.bytes_after;
    report_.sparsity = report_.stages.back().sparsity;
    clock_.finish_stage("count_sparsity");
  }

  void export_artifact(const ExportStep& step) {
    const ExportOptions exporting = export_options(step, options_.compute.num_threads);
    const OnnxArtifact artifact = export_onnx(*compressed_, exporting, output_, "", progress_);
    artifact_files_ = artifact.file_sha256;
    report_.warnings.insert(report_.warnings.end(), artifact.warnings.begin(),
                            artifact.warnings.end());
    clock_.finish_stage("export");

    const std::filesystem::path graph = output_.path() / artifact.graph;
    ArtifactReport checked = check(graph);
    checked.format = format_name(exporting.format);
    checked.size_bytes = static_cast<std::int64_t>(artifact.total_bytes);
    checked.file_sha256 = artifact.file_sha256;
    report_.artifact = checked;
    report_.bytes_after = checked.size_bytes;
    report_.stages.push_back(artifact_stage(report_.stages.back(), checked));
    if (options_.speed_test == SpeedTest::Run) time_artifact(exporting, graph);
  }

  ArtifactReport check(const std::filesystem::path& graph) {
    if (options_.artifact_check == ArtifactCheck::Skip) return {};
    ArtifactReport checked;
    if (walked_.final_states != nullptr) {
      checked = check_artifact(graph,
                               {.windows = *texts_.evaluation,
                                .origin = WindowOrigin::Text,
                                .logits = window_logits(*walked_.final_states, walked_.head)},
                               options_);
    } else {
      checked = check_on_random_tokens(*compressed_, graph, options_, progress_);
    }
    clock_.finish_stage("check_artifact");
    return checked;
  }

  void time_artifact(const ExportOptions& exporting, const std::filesystem::path& graph) {
    const TokenWindows windows =
        texts_.evaluation ? *texts_.evaluation : random_check_windows(model_.config());
    dense_speed_ = dense_speed(model_, exporting, output_, windows, options_);
    artifact_speed_ = artifact_speed(graph, windows, options_);
    clock_.finish_stage("time_artifact");
  }

  void publish() {
    std::map<std::string, std::string> files = artifact_files_;
    compressed_.reset();
    if (exports() && options_.checkpoint == Checkpoint::Discard) {
      std::filesystem::remove_all(output_.path() / kCheckpointFolder);
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
    if (options_.gate_failure == GateFailure::Discard && !all_passed(report_.gates)) return;
    publish_with_report(output_, report_, std::move(files), options_.model);
  }

  const Recipe& recipe_;
  const RunOptions& options_;
  const Progress& progress_;
  RunClock clock_;
  const ModelFolder model_;
  const WalkPlan plan_;
  StagedFolder output_;
  const WalkTexts texts_;
  WalkResult walked_;
  std::unique_ptr<ModelFolder> compressed_;
  std::map<std::string, std::string> checkpoint_files_;
  std::map<std::string, std::string> artifact_files_;
  std::optional<DecoderSpeed> dense_speed_;
  std::optional<DecoderSpeed> artifact_speed_;
  Report report_;
};

}  // namespace

Report run_recipe(const Recipe& recipe, const std::string& command, const RunOptions& options,
                  const Progress& progress) {
  return RecipeRun(recipe, options, progress).run(command);
}

}  // namespace edgecompress
