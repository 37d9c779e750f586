#include "pipeline/recovery.h"

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "evaluate/activation_override.h"
#include "llama/linear_layers.h"
#include "pipeline/block_recovery.h"
#include "pipeline/model_copy.h"
#include "tensor/aten.h"
#include "training/end_to_end.h"
#include "training/trained_model.h"
#include "training/training_windows.h"

namespace edgecompress {
namespace {

/// The teacher's final hidden states of all windows, and its head.
class Teacher {
 public:
  Teacher(const ModelFolder& model, const TokenWindows& windows, const EvaluationOptions& compute,
          const Progress& progress)
      : states_(final_hidden_states(model, windows, compute, progress)),
        head_(load_head(model, compute.num_threads)),
        logits_(window_logits(states_, head_)) {}
  Teacher(const Teacher&) = delete;
  Teacher& operator=(const Teacher&) = delete;

  const WindowLogits& logits() const { return logits_; }

 private:
  HiddenStates states_;
  LanguageModelHead head_;
  WindowLogits logits_;
};

void write_model(const ModelFolder& source, const TrainedModel& model, CheckpointWriter& writer,
                 int num_threads) {
  copy_embedding(source, writer, num_threads);
  for (std::int64_t block = 0; block < model.num_blocks(); ++block) {
    writer.write_block(block, model.block(block).stored_weights(),
                       model.block(block).stored_vectors());
  }
  copy_head(source, model.stored_final_norm(), writer, num_threads);
}

TokenWindows chosen_windows(const TokenWindows& all, const std::vector<std::int64_t>& chosen) {
  TokenWindows some = all;
  some.ids.clear();
  some.count = static_cast<std::int64_t>(chosen.size());
  for (const std::int64_t window : chosen) {
    some.ids.insert(some.ids.end(), all.window(window).begin(), all.window(window).end());
  }
  return some;
}

/// A model that is recovered on a split of the text.
class RecoverySteps {
 public:
  RecoverySteps(const Recovery& recovery, const EvaluationOptions& compute,
                const RecoveryOutput& output, const TrainingControl& control)
      : recovery_(recovery),
        compute_(compute),
        student_compute_(compute),
        output_(output),
        control_(one_stop_for_all(control)),
        split_(split_windows(recovery.windows.count, recovery.options.held_out_share)) {
    student_compute_.activations = recovery.options.activations;
  }

  RecoveryReport run() {
    interrupted_ = output_.journal.interrupted();
    if (interrupted_) {
      prelude_ = interrupted_->prelude;
    } else if (const auto blocks = output_.journal.interrupted_blocks()) {
      prelude_.perplexity_increase = blocks->perplexity_increase;
    } else if (recovery_.gate) {
      prelude_.perplexity_increase = perplexity_increase();
    }
    const std::optional<double>& increase = prelude_.perplexity_increase;
    const bool wanted = !increase || *increase > *recovery_.gate;
    const TrainingPhases phases = recovery_.options.phases;
    if (wanted && trains_blocks(phases) && !interrupted_) train_blocks();
    const bool with_blocks = prelude_.blocks && prelude_.blocks->kept;
    const std::unique_ptr<const ModelFolder> blocks = with_blocks ? open_blocks() : nullptr;
    const ModelFolder& start = with_blocks ? *blocks : recovery_.model;
    RecoveryReport report{.blocks = prelude_.blocks};
    if (trains_whole(phases) || !wanted) {
      report.whole = train_whole(start, wanted ? recovery_.options.epochs : 0);
    } else {
      copy(start);
    }
    return report;
  }

 private:
  /// A signal ends the whole training, not only that of the block it meets.
  TrainingControl one_stop_for_all(TrainingControl control) {
    if (!control.stop_requested) return control;
    control.stop_requested = [this, requested = std::move(control.stop_requested)] {
      stopped_ = stopped_ || requested();
      return stopped_;
    };
    return control;
  }

  std::filesystem::path blocks_path() const { return output_.staged.path() / kTrainedBlocksFolder; }

  std::unique_ptr<const ModelFolder> open_blocks() const {
    return std::make_unique<ModelFolder>(ModelFolder::open(blocks_path()));
  }

  double held_out_perplexity(const ModelFolder& model, const EvaluationOptions& compute) const {
    const TokenWindows windows = chosen_windows(recovery_.windows, split_.held_out);
    return evaluate_model(model, nullptr, windows, compute, control_.progress).perplexity;
  }

  /// How much higher the model's perplexity is than the teacher's, as a share of it.
  double perplexity_increase() const {
    ensure(recovery_.teacher != nullptr, "a teacher beside a gate");
    return held_out_perplexity(recovery_.model, student_compute_) /
               held_out_perplexity(*recovery_.teacher, compute_) -
           1;
  }

  /// Adds what was asked for.
  template <typename PhaseReport>
  void describe(PhaseReport& report) const {
    report.text = recovery_.windows.source;
    report.token_sha256 = recovery_.windows.sha256;
    report.window = recovery_.windows.length;
    report.gate = recovery_.gate;
    report.perplexity_increase = prelude_.perplexity_increase;
    const ActivationRounding rounding =
        recovery_.options.activations.value_or(folder_rounding(recovery_.model));
    if (rounding != ActivationRounding::None) report.activations = activation_name(rounding);
  }

  void train_blocks() {
    CheckpointWriter writer(output_.staged, kTrainedBlocksFolder, recovery_.model.config(),
                            stored_forms(recovery_.model));
    BlockTrainingReport report =
        recover_blocks(recovery_, split_, compute_,
                       {.writer = writer,
                        .journal = output_.journal,
                        .perplexity_increase = prelude_.perplexity_increase},
                       control_);
    prelude_.block_files = writer.finish(recovery_.model);
    describe(report);
    report.perplexity_before = held_out_perplexity(recovery_.model, student_compute_);
    report.perplexity_after = held_out_perplexity(*open_blocks(), student_compute_);
    report.kept = report.perplexity_after < report.perplexity_before;
    if (!report.kept) {
      report.warnings.push_back(
          concat("training the blocks did not lower the held-out perplexity, so they were left as "
                 "they were: ",
                 report.perplexity_before, " before, ", report.perplexity_after, " after"));
    }
    prelude_.blocks = std::move(report);
  }

  TrainedModel trained_model(const ModelFolder& start, const TrainingOptions& options) const {
    return {training_source(recovery_, start, compute_), options};
  }

  TrainingReport train_whole(const ModelFolder& start, std::int64_t epochs) const {
    TrainingOptions options = recovery_.options;
    options.epochs = epochs;
    const TokenWindows& windows = recovery_.windows;
    TrainedModel trained = trained_model(start, options);
    HiddenStates embedded(windows, start.matrix(kEmbeddingModule), compute_.storage);
    TrainingData data{.windows = windows, .embedded = embedded, .teacher_logits = {}};
    std::optional<Teacher> taught;
    if (options.loss == TrainingLoss::Divergence) {
      taught.emplace(*recovery_.teacher, windows, compute_, control_.progress);
      data.teacher_logits = taught->logits();
    }
    EndToEndPass pass(trained, data, options.loss);
    TrainingControl control = control_;
    control.keep_state = [this](const TrainingState& state) {
      output_.journal.note(prelude_, state);
    };
    if (interrupted_) control.start = &interrupted_->state;
    TrainingReport report = train(trained.parameters(), end_to_end_objective(trained, pass), split_,
                                  windows.length, options, control);
    report.trained = options.part == TrainedPart::Scales ? "scales" : "weights";
    report.loss = options.loss == TrainingLoss::Divergence ? "divergence" : "cross-entropy";
    describe(report);
    write_model(start, trained, output_.writer, compute_.num_threads);
    return report;
  }

  /// Untrained scales and floats are written as they are read.
  void copy(const ModelFolder& start) const {
    TrainingOptions options = recovery_.options;
    options.part = TrainedPart::Scales;
    write_model(start, trained_model(start, options), output_.writer, compute_.num_threads);
  }

  const Recovery& recovery_;
  const EvaluationOptions& compute_;
  EvaluationOptions student_compute_;  ///< inputs rounded as in training
  const RecoveryOutput& output_;
  bool stopped_ = false;
  const TrainingControl control_;
  const TrainingSplit split_;
  std::optional<InterruptedTraining> interrupted_;
  TrainingPrelude prelude_;
};

/// Block by block, a block is compared with the teacher's of the same place.
void refuse_blocks_without_teacher(const ModelFolder& model, const ModelFolder* teacher) {
  if (teacher == nullptr) {
    throw Error(ErrorKind::Usage, "T-TEACHER",
                "blocks are trained on the outputs of a teacher's blocks; name the model that the "
                "compressed one was made of, or train end to end");
  }
  const LlamaConfig& ours = model.config();
  const LlamaConfig& theirs = teacher->config();
  if (ours.num_blocks() == theirs.num_blocks() && ours.hidden_size == theirs.hidden_size) return;
  throw Error(
      ErrorKind::Usage, "T-TEACHER",
      concat("blocks are trained on the outputs of the teacher's blocks of the same "
             "places: ",
             model.path().string(), " has ", ours.num_blocks(), " of width ", ours.hidden_size,
             ", the teacher ", teacher->path().string(), " has ", theirs.num_blocks(), " of width ",
             theirs.hidden_size, "; train end to end when layers were dropped"));
}

/// Asks how every layer's inputs are rounded, which is refused before any weight is read.
void refuse_unknown_blocks(const ModelFolder& model, ActivationRounding rounding) {
  for (std::int64_t block = 0; block < model.config().num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) {
      rounding_in(model, module_name({block, kind}), rounding);
    }
  }
  rounding_in(model, std::string(kHeadModule), rounding);
}

}  // namespace

bool RecoveryReport::changed() const {
  return (blocks && blocks->kept) || (whole && whole->outcome.kept_step > 0);
}

TrainingSource training_source(const Recovery& recovery, const ModelFolder& start,
                               const EvaluationOptions& compute) {
  TrainingSource source{.model = start,
                        .dense = recovery.teacher,
                        .target = compute.target,
                        .num_threads = compute.num_threads};
  if (const auto rounding = recovery.options.activations) {
    source.activations = [&start, rounding](const std::string& module) {
      return rounding_in(start, module, *rounding);
    };
  }
  return source;
}

RecoveryReport recover(const Recovery& recovery, const EvaluationOptions& compute,
                       const RecoveryOutput& output, const TrainingControl& control) {
  return RecoverySteps(recovery, compute, output, control).run();
}

double linear_sparsity(const ModelFolder& model, int num_threads) {
  std::int64_t zeros = 0;
  std::int64_t weights = 0;
  for (std::int64_t block = 0; block < model.config().num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) {
      const std::string module = module_name({block, kind});
      const StoredMatrix matrix = model.matrix(module);
      const MatrixShape shape = matrix_shape(matrix);
      zeros += count_stored_zeros(matrix, num_threads);
      weights += shape.out_features * shape.in_features;
      model.drop(module);
    }
  }
  return static_cast<double>(zeros) / static_cast<double>(weights);
}

void add_recovery(Report& report, RecoveryReport recovery) {
  const auto add_warnings = [&](const std::vector<std::string>& warnings) {
    report.warnings.insert(report.warnings.end(), warnings.begin(), warnings.end());
  };
  if (recovery.blocks) add_warnings(recovery.blocks->warnings);
  if (recovery.whole) add_warnings(recovery.whole->warnings);
  report.block_training = std::move(recovery.blocks);
  report.training = std::move(recovery.whole);
}

TrainingOptions resolve_training(const TrainingChoice& choice, const ModelFolder& model,
                                 const ModelFolder* teacher) {
  TrainingOptions options = choice.options;
  options.part =
      choice.part.value_or(model.is_quantized() ? TrainedPart::Scales : TrainedPart::Weights);
  options.loss = choice.loss.value_or(teacher != nullptr ? TrainingLoss::Divergence
                                                         : TrainingLoss::CrossEntropy);
  if (options.part == TrainedPart::Scales && !model.is_quantized()) {
    throw Error(ErrorKind::Usage, "T-SCALES",
                concat(model.path().string(),
                       " has no quantized layers, so there are no scales to train; train its "
                       "weights"));
  }
  if (options.loss == TrainingLoss::Divergence && teacher == nullptr) {
    throw Error(ErrorKind::Usage, "T-TEACHER",
                "the divergence is measured against a teacher; name the model that the compressed "
                "one was made of, or train on cross entropy");
  }
  if (trains_blocks(options.phases)) refuse_blocks_without_teacher(model, teacher);
  if (options.activations) refuse_unknown_blocks(model, *options.activations);
  if (teacher != nullptr && teacher->config().vocab_size != model.config().vocab_size) {
    throw Error(
        ErrorKind::Usage, "T-TEACHER",
        concat("the teacher ", teacher->path().string(), " has a vocabulary of ",
               teacher->config().vocab_size, ", the model one of ", model.config().vocab_size,
               "; the teacher must be the model it was made of"));
  }
  return options;
}

}  // namespace edgecompress
