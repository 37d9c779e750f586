#include "pipeline/recover_run.h"

#include <memory>
#include <utility>

#include "base/error.h"
#include "llama/checkpoint_writer.h"
#include "llama/linear_layers.h"
#include "pipeline/export_run.h"
#include "pipeline/recovery.h"
#include "pipeline/run_environment.h"
#include "pipeline/run_fingerprint.h"
#include "pipeline/run_texts.h"
#include "pipeline/walk_plan.h"
#include "pipeline/weight_change.h"
#include "tensor/aten.h"
#include "tokenizer/tokenizer.h"
#include "training/trained_block.h"

namespace edgecompress {
namespace {

struct RecoverTexts {
  TokenWindows training;
  std::optional<TokenWindows> evaluation;
};

RecoverTexts read_texts(const RecoverRequest& request, const ModelFolder& model) {
  const Tokenizer tokenizer = Tokenizer::open(model.path());
  RecoverTexts texts{.training = read_training_windows(request.text, model, tokenizer),
                     .evaluation = {}};
  if (request.evaluation) {
    const Evaluation& evaluation = *request.evaluation;
    refuse_long_windows(model.config(), evaluation.window, "the scored text's window");
    texts.evaluation =
        read_token_windows(evaluation.text, tokenizer,
                           {.length = evaluation.window, .max_count = evaluation.max_windows},
                           model.config().vocab_size);
  }
  return texts;
}

/// What training did to one matrix. A masked weight that is not 0 any more is a bug.
TensorReport trained_tensor_report(const ModelFolder& before, const ModelFolder& after,
                                   const std::string& module, MatrixShape shape,
                                   const StoredForm& form, ZeroWeights zeros, int num_threads) {
  const at::Tensor start = load_matrix(before.matrix(module), num_threads);
  const at::Tensor trained = load_matrix(after.matrix(module), num_threads);
  before.drop(module);
  after.drop(module);
  if (zeros == ZeroWeights::Keep) {
    ensure(trained.masked_fill(start.ne(0), 0).count_nonzero().item<std::int64_t>() == 0,
           "the written file to hold every zero of the mask");
  }
  const WeightChange change = change_between(start, trained, num_threads);
  TensorReport report;
  report.name = module;
  report.shape_before = {shape.out_features, shape.in_features};
  report.shape_after = report.shape_before;
  add_form(report, form);
  report.sparsity = change.sparsity();
  report.relative_weight_error = change.relative_error();
  report.bytes_before = stored_bytes(module, shape, form);
  report.bytes_after = report.bytes_before;
  return report;
}

class RecoverRun {
 public:
  RecoverRun(const RecoverRequest& request, const RunOptions& options, const Progress& progress)
      : request_(request),
        options_(options),
        progress_(progress),
        model_(ModelFolder::open(options.model)),
        teacher_(request.teacher.empty()
                     ? nullptr
                     : std::make_unique<ModelFolder>(ModelFolder::open(request.teacher))),
        training_(resolve_training(request.choice, model_, teacher_.get())),
        forms_(stored_forms(model_)),
        output_(options.output, inputs(), options.existing, Leftovers::Keep),
        report_(report_of_input(model_, "recover", options, progress)),
        texts_(read_texts(request, model_)),
        journal_(output_, fingerprint(), options.resume) {}

  Report run() {
    clock_.finish_stage("prepare");
    train();
    describe_tensors();
    if (texts_.evaluation) score();
    report_.environment = clock_.environment(options_.compute.num_threads);
    publish_with_report(output_, report_, std::move(files_), options_.model,
                        {kTrainedBlocksFolder});
    return report_;
  }

 private:
  std::vector<std::filesystem::path> inputs() const {
    std::vector<std::filesystem::path> folders{options_.model};
    if (teacher_ != nullptr) folders.push_back(request_.teacher);
    return folders;
  }

  /// The texts and the teacher decide what is trained, as the model does.
  Fingerprint fingerprint() const {
    Fingerprint all = run_fingerprint("recover", options_, model_, nullptr, nullptr);
    add_tokens(all, "training tokens", texts_.training);
    add_tokens(all, "evaluation tokens", texts_.evaluation);
    if (teacher_ != nullptr) add_model(all, "teacher's ", *teacher_);
    return all;
  }

  void train() {
    CheckpointWriter writer(output_, "", model_.config(), forms_);
    TrainingJournal journal(output_, journal_);
    add_recovery(
        report_,
        recover({.model = model_,
                 .teacher = teacher_.get(),
                 .windows = texts_.training,
                 .options = training_},
                options_.compute, {.staged = output_, .writer = writer, .journal = journal},
                {.progress = progress_, .stop_requested = options_.stop_requested}));
    model_.store().ensure_unchanged();
    files_ = writer.finish(model_);
    clock_.finish_stage("train");
  }

  void describe_tensors() {
    trained_ = std::make_unique<ModelFolder>(ModelFolder::open(output_.path()));
    for (const auto& [module, shape] : model_matrices(model_.config())) {
      report_.tensors.push_back(trained_tensor_report(model_, *trained_, module, shape,
                                                      forms_.find(module)->second, training_.zeros,
                                                      options_.compute.num_threads));
    }
    report_.sparsity = linear_sparsity(*trained_, options_.compute.num_threads);
    report_.bytes_after = static_cast<std::int64_t>(trained_->store().total_bytes());
    clock_.finish_stage("count_sparsity");
  }

  void score() {
    const TokenWindows& windows = *texts_.evaluation;
    report_.evaluation = evaluation_report(*request_.evaluation, windows, options_.compute);
    const ModelFolder& first = teacher_ != nullptr ? *teacher_ : model_;
    const EvaluationOptions compute = teacher_ != nullptr ? options_.compute : trained_compute();
    HiddenStates states = final_hidden_states(first, windows, compute, progress_);
    const LanguageModelHead head = evaluated_head(first, compute);
    const WindowLogits reference = window_logits(states, head);
    add_stage(teacher_ != nullptr ? "dense" : "compressed", first,
              score_windows(windows, reference, reference));
    if (teacher_ != nullptr) add_stage("compressed", model_, scores_of(model_, reference));
    add_stage("recovered", *trained_, scores_of(*trained_, reference));
    clock_.finish_stage("score");
  }

  /// Inputs rounded as in training.
  EvaluationOptions trained_compute() const {
    EvaluationOptions compute = options_.compute;
    compute.activations = training_.activations;
    return compute;
  }

  LanguageModelScores scores_of(const ModelFolder& model, const WindowLogits& reference) {
    const TokenWindows& windows = *texts_.evaluation;
    HiddenStates states = final_hidden_states(model, windows, trained_compute(), progress_);
    const LanguageModelHead head = evaluated_head(model, trained_compute());
    return score_windows(windows, window_logits(states, head), reference);
  }

  void add_stage(const std::string& name, const ModelFolder& model,
                 const LanguageModelScores& scores) {
    report_.stages.push_back({.stage = name,
                              .parameters = total_parameters(model.config()),
                              .size_bytes = static_cast<std::int64_t>(model.store().total_bytes()),
                              .flops_per_token = flops_per_token(model.config()),
                              .sparsity = linear_sparsity(model, options_.compute.num_threads),
                              .perplexity = scores.perplexity,
                              .kl_divergence_nats = scores.kl_divergence_nats,
                              .top1_agreement = scores.top1_agreement});
  }

  const RecoverRequest& request_;
  const RunOptions& options_;
  const Progress& progress_;
  RunClock clock_;
  const ModelFolder model_;
  const std::unique_ptr<const ModelFolder> teacher_;
  const TrainingOptions training_;
  const std::map<std::string, StoredForm, std::less<>> forms_;
  StagedFolder output_;
  Report report_;
  const RecoverTexts texts_;
  RunJournal journal_;
  std::unique_ptr<const ModelFolder> trained_;
  std::map<std::string, std::string> files_;
};

}  // namespace

Report run_recover(const RecoverRequest& request, const RunOptions& options,
                   const Progress& progress) {
  return RecoverRun(request, options, progress).run();
}

}  // namespace edgecompress
