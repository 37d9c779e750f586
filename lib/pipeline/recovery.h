#pragma once

#include <optional>

#include "calibrate/token_windows.h"
#include "evaluate/model_evaluation.h"
#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"
#include "methods/training_options.h"
#include "report/report.h"
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

/// Trains a compressed model and writes the result, which is the model itself when training did not
/// lower the held-out loss.
///
/// writer: for stored_forms(model).
/// Cost: see EndToEndPass; the teacher's final hidden states of all windows, on disk beyond 1 GiB.
TrainingReport recover(const Recovery& recovery, const EvaluationOptions& compute,
                       CheckpointWriter& writer, const TrainingControl& control);

/// The options with everything decided that depends on the models: what is trained and the loss.
/// Throws Error{Usage} T-SCALES when scales of a model without quantized layers are to be trained,
/// T-TEACHER when a teacher is missing or has another vocabulary.
TrainingOptions resolve_training(const TrainingChoice& choice, const ModelFolder& model,
                                 const ModelFolder* teacher);

}  // namespace edgecompress
