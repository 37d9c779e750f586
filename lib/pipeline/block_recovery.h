#pragma once

#include <optional>

#include "pipeline/recovery.h"
#include "training/training_windows.h"

namespace edgecompress {

/// Where trained blocks are written and noted.
struct TrainedBlocksOutput {
  CheckpointWriter& writer;  ///< for stored_forms(model); everything but finish() is called
  TrainingJournal& journal;
  std::optional<double> perplexity_increase;  ///< to be noted too
};

/// Trains the decoder blocks one by one, in order: each on what the trained blocks before it give,
/// for what the teacher's block gives on the teacher's own states. Writes the model with them;
/// whether it is better as a whole is the caller's to say.
///
/// A block keeps the state with the lowest loss on the held-out windows.
/// recovery: its teacher has as many blocks, of the same hidden size (resolve_training).
/// output: an interrupted training goes on behind the last block that it noted.
/// Returns what was done, without perplexities.
/// Cost: one block's weights with gradients and moments, two sets of hidden states of all windows.
/// Source: EfficientQAT, arXiv 2407.11062, section 3.2.
BlockTrainingReport recover_blocks(const Recovery& recovery, const TrainingSplit& split,
                                   const EvaluationOptions& compute,
                                   const TrainedBlocksOutput& output,
                                   const TrainingControl& control);

}  // namespace edgecompress
