#pragma once

#include <filesystem>
#include <optional>

#include "base/progress.h"
#include "methods/training_options.h"
#include "pipeline/run_options.h"
#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// What the command `recover` is asked for, beside RunOptions' model and output.
struct RecoverRequest {
  std::filesystem::path teacher;  ///< empty: none
  TrainingText text;
  TrainingChoice choice;
  std::optional<Evaluation> evaluation = {};
};

/// Trains a pruned, masked or quantized model folder and publishes the result: a folder of the same
/// shapes and the same forms, with report.json.
/// Refuses before any weight is read: what resolve_training refuses, windows longer than the
/// model's context, an output that cannot be made, too little text.
Report run_recover(const RecoverRequest& request, const RunOptions& options,
                   const Progress& progress);

}  // namespace edgecompress
