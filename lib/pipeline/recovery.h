#pragma once

#include <optional>

#include "base/staged_output.h"
#include "calibrate/token_windows.h"
#include "evaluate/model_evaluation.h"
#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"
#include "methods/training_options.h"
#include "pipeline/training_journal.h"
#include "report/report.h"
#include "training/trained_block.h"
#include "training/trainer.h"

namespace edgecompress {

/// What recover() works on.
struct Recovery {
  const ModelFolder& model;    ///< the compressed model
  const ModelFolder* teacher;  ///< the model it was made of, or nullptr; needed with
                               ///< TrainingLoss::Divergence and with a gate
  const TokenWindows& windows;
  TrainingOptions options;  ///< resolved for these models (resolve_training)
  /// Trains only when the perplexity on the held-out windows is higher than the teacher's by more
  /// than this share; nothing: always.
  std::optional<double> gate = {};
};

/// Where trained blocks lie in the staged output. To be deleted before it is published, and not
/// sooner: an interrupted run goes on from them.
inline constexpr const char* kTrainedBlocksFolder = "trained-blocks";

/// Where the result is written.
struct RecoveryOutput {
  StagedFolder& staged;
  CheckpointWriter& writer;  ///< for stored_forms(model)
  TrainingJournal& journal;  ///< an interrupted end-to-end training goes on where it stood
};

/// What was trained; nothing for a phase that was not asked for.
struct RecoveryReport {
  std::optional<BlockTrainingReport> blocks = {};
  std::optional<TrainingReport> whole = {};  ///< with 0 steps when the gate held training back
  bool changed() const;                      ///< whether the result is not the model itself
};

/// Where training a model starts, with its inputs rounded as the recovery's options say.
/// start: the recovery's model, or what is made of it.
TrainingSource training_source(const Recovery& recovery, const ModelFolder& start,
                               const EvaluationOptions& compute);

/// Trains a compressed model and writes the result, which is the model itself when training did not
/// lower the held-out loss.
///
/// Cost: see EndToEndPass and recover_blocks; the teacher's final hidden states of all windows, on
/// disk beyond 1 GiB.
RecoveryReport recover(const Recovery& recovery, const EvaluationOptions& compute,
                       const RecoveryOutput& output, const TrainingControl& control);

/// The share of zeros among the decoder blocks' linear weights. Reads every row, some at a time.
double linear_sparsity(const ModelFolder& model, int num_threads);

/// Adds what was trained and its warnings.
void add_recovery(Report& report, RecoveryReport recovery);

/// The options with everything decided that depends on the models: what is trained and the loss.
/// Throws Error{Usage} T-SCALES when scales of a model without quantized layers are to be trained,
/// T-TEACHER when a teacher is missing or has another vocabulary, or, when blocks are trained,
/// other blocks; Error{Unsupported} X1 when blocks of a layer's inputs are to be rounded that
/// MatMulNBits does not have.
TrainingOptions resolve_training(const TrainingChoice& choice, const ModelFolder& model,
                                 const ModelFolder* teacher);

}  // namespace edgecompress
