#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "calibrate/hidden_states.h"
#include "evaluate/model_evaluation.h"
#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"
#include "pipeline/walk_journal.h"
#include "pipeline/walk_plan.h"
#include "report/report.h"

namespace edgecompress {

/// Tokens that go along.
struct WalkTexts {
  std::optional<TokenWindows> calibration;  ///< must be there when the plan needs it
  std::optional<TokenWindows> evaluation;
};

/// What a walk measured.
struct WalkResult {
  std::vector<StageReport>
      stages;  ///< "dense", then one per step; scores only with evaluation tokens
  std::vector<TensorReport> tensors;
  std::unique_ptr<HiddenStates>
      final_states;        ///< of the last stage on the evaluation windows, or nullptr
  LanguageModelHead head;  ///< of the last stage
};

/// Does all steps in one pass over the decoder blocks and stores each block when it is done. One
/// decoder block (as float, once per step) and the hidden states are in memory.
///
/// Every finished block is noted in the journal; a walk that finds one with finished blocks goes on
/// behind them.
///
/// Calibrated steps see the inputs that the already compressed blocks give. With evaluation tokens
/// every stage of the model (dense, after each step) is carried along and scored at the end.
WalkResult walk(const ModelFolder& model, const WalkPlan& plan, const WalkTexts& texts,
                const EvaluationOptions& compute, CheckpointWriter& writer, WalkJournal& journal,
                const Progress& progress);

}  // namespace edgecompress
