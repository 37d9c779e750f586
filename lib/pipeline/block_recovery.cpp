#include "pipeline/block_recovery.h"

#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "calibrate/hidden_states.h"
#include "llama/weight_layout.h"
#include "pipeline/model_copy.h"
#include "tensor/aten.h"
#include "training/block_pass.h"
#include "training/trained_block.h"

namespace edgecompress {
namespace {

TrainingOptions block_options(const TrainingOptions& whole) {
  TrainingOptions options = whole;
  options.part = TrainedPart::Weights;
  options.zero_points = ZeroPoints::Trained;
  options.epochs = whole.blocks.epochs;
  options.batch = whole.blocks.batch;
  options.learning_rate = whole.blocks.learning_rate;
  options.code_learning_rate = whole.blocks.code_learning_rate;
  options.scale_learning_rate = whole.blocks.scale_learning_rate;
  return options;
}

class BlockRecovery {
 public:
  BlockRecovery(const Recovery& recovery, const TrainingSplit& split,
                const EvaluationOptions& compute, const TrainedBlocksOutput& output,
                const TrainingControl& control)
      : recovery_(recovery),
        split_(split),
        compute_(compute),
        output_(output),
        control_(control),
        options_(block_options(recovery.options)),
        norm_dtype_(written_dtype(stored_forms(recovery.model))),
        rotary_(make_rotary_table(recovery.model.config(), recovery.windows.length,
                                  compute.target.device)),
        dense_(recovery.windows, recovery.teacher->matrix(kEmbeddingModule), compute.storage),
        trained_(recovery.windows, recovery.model.matrix(kEmbeddingModule), compute.storage) {}

  BlockTrainingReport run() {
    const ModelFolder& model = recovery_.model;
    const std::int64_t blocks = model.config().num_blocks();
    const std::optional<BlockTrainingProgress> done = output_.journal.interrupted_blocks();
    if (done) output_.writer.resume(done->shards);
    report_.training_windows = static_cast<std::int64_t>(split_.training.size());
    report_.held_out_windows = static_cast<std::int64_t>(split_.held_out.size());
    copy_embedding(model, output_.writer, compute_.num_threads);
    if (done) {
      report_ = done->report;
      output_.journal.restore_blocks({&dense_, &trained_});
    }
    for (auto block = std::ssize(report_.blocks); block < blocks; ++block) {
      train_block(block);
      // what a signal has cut short is not what an undisturbed run would go on from
      if (!stopped()) note(blocks);
    }
    copy_head(model, model.vector(concat(kFinalNormModule, ".weight")), output_.writer,
              compute_.num_threads);
    return std::move(report_);
  }

 private:
  bool stopped() const { return control_.stop_requested && control_.stop_requested(); }

  void note(std::int64_t blocks) {
    output_.journal.note_block({.perplexity_increase = output_.perplexity_increase,
                                .report = report_,
                                .shards = output_.writer.written()},
                               blocks, {&dense_, &trained_});
  }

  void train_block(std::int64_t index) {
    advance_dense(index);
    TrainedBlock block(training_source(recovery_, recovery_.model, compute_), index, norm_dtype_,
                       options_);
    BlockPass pass([&block] { return block.weights(); }, rotary_,
                   {.inputs = trained_, .targets = dense_}, compute_.target.device);
    TrainingControl control = control_;
    control.stage = concat("train_block_", index);
    const TrainingReport training =
        train(block.parameters(options_), block_objective(pass, [&block] { block.settle(); }),
              split_, recovery_.windows.length, options_, control);
    report_.blocks.push_back({.block = index, .outcome = training.outcome});
    for (const std::string& warning : training.warnings) {
      report_.warnings.push_back(concat("block ", index, ": ", warning));
    }
    const at::NoGradGuard no_grad;
    advance(trained_, block.weights(), rotary_, compute_.target);
    output_.writer.write_block(index, block.stored_weights(), block.stored_vectors());
  }

  /// Afterwards the dense states are what the block is to give.
  void advance_dense(std::int64_t index) {
    const BlockWeights dense =
        to_target(load_block(*recovery_.teacher, index, compute_.num_threads), compute_.target);
    advance(dense_, dense, rotary_, compute_.target);
  }

  const Recovery& recovery_;
  const TrainingSplit& split_;
  const EvaluationOptions& compute_;
  const TrainedBlocksOutput& output_;
  const TrainingControl& control_;
  const TrainingOptions options_;
  const DType norm_dtype_;
  const RotaryTable rotary_;
  HiddenStates dense_;
  HiddenStates trained_;
  BlockTrainingReport report_;
};

}  // namespace

BlockTrainingReport recover_blocks(const Recovery& recovery, const TrainingSplit& split,
                                   const EvaluationOptions& compute,
                                   const TrainedBlocksOutput& output,
                                   const TrainingControl& control) {
  ensure(recovery.teacher != nullptr, "a teacher of the decoder blocks");
  return BlockRecovery(recovery, split, compute, output, control).run();
}

}  // namespace edgecompress
