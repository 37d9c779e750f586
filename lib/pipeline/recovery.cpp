#include "pipeline/recovery.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "pipeline/stored_steps.h"
#include "tensor/aten.h"
#include "training/end_to_end.h"
#include "training/trained_model.h"
#include "training/training_windows.h"

namespace edgecompress {
namespace {

WeightValue stored_value(const StoredMatrix& matrix, int num_threads) {
  if (const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix)) {
    return read_quantized_rows(*quantized, 0, quantized->shape.out_features);
  }
  return keep_stored(matrix, num_threads).value;
}

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
  writer.write_embedding(stored_value(source.matrix(kEmbeddingModule), num_threads));
  source.drop(kEmbeddingModule);
  for (std::int64_t block = 0; block < model.num_blocks(); ++block) {
    writer.write_block(block, model.block(block).stored_weights(),
                       model.block(block).stored_vectors());
  }
  if (source.config().tie_word_embeddings) {
    writer.write_head(model.stored_final_norm(), nullptr);
    return;
  }
  const WeightValue head = stored_value(source.matrix(kHeadModule), num_threads);
  writer.write_head(model.stored_final_norm(), &head);
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

/// How much higher the model's perplexity is than the teacher's, as a share of it.
double perplexity_increase(const Recovery& recovery, const TrainingSplit& split,
                           const EvaluationOptions& compute, const Progress& progress) {
  ensure(recovery.teacher != nullptr, "a teacher beside a gate");
  const TokenWindows windows = chosen_windows(recovery.windows, split.held_out);
  const auto perplexity = [&](const ModelFolder& model) {
    return evaluate_model(model, nullptr, windows, compute, progress).perplexity;
  };
  return perplexity(recovery.model) / perplexity(*recovery.teacher) - 1;
}

/// Adds what was asked for.
void describe(TrainingReport& report, const Recovery& recovery) {
  const TrainingOptions& options = recovery.options;
  report.trained = options.part == TrainedPart::Scales ? "scales" : "weights";
  report.loss = options.loss == TrainingLoss::Divergence ? "divergence" : "cross-entropy";
  report.text = recovery.windows.source;
  report.token_sha256 = recovery.windows.sha256;
  report.window = recovery.windows.length;
  report.gate = recovery.gate;
}

}  // namespace

TrainingReport recover(const Recovery& recovery, const EvaluationOptions& compute,
                       CheckpointWriter& writer, const TrainingControl& control) {
  const ModelFolder& model = recovery.model;
  const TokenWindows& windows = recovery.windows;
  TrainingOptions options = recovery.options;
  const TrainingSplit split = split_windows(windows.count, options.held_out_share);
  std::optional<double> increase;
  if (recovery.gate) {
    increase = perplexity_increase(recovery, split, compute, control.progress);
    if (*increase <= *recovery.gate) options.epochs = 0;
  }
  TrainedModel trained({.model = model,
                        .dense = recovery.teacher,
                        .target = compute.target,
                        .num_threads = compute.num_threads},
                       options);
  HiddenStates embedded(windows, model.matrix(kEmbeddingModule), compute.storage);
  TrainingData data{.windows = windows, .embedded = embedded, .teacher_logits = {}};
  std::optional<Teacher> taught;
  if (options.loss == TrainingLoss::Divergence) {
    taught.emplace(*recovery.teacher, windows, compute, control.progress);
    data.teacher_logits = taught->logits();
  }
  EndToEndPass pass(trained, data, options.loss);
  TrainingReport report = train(trained.parameters(), end_to_end_objective(trained, pass), split,
                                windows.length, options, control);
  describe(report, recovery);
  report.perplexity_increase = increase;
  write_model(model, trained, writer, compute.num_threads);
  return report;
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
