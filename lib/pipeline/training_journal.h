#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/staged_output.h"
#include "calibrate/hidden_states.h"
#include "llama/checkpoint_writer.h"
#include "report/report.h"
#include "resume/run_journal.h"
#include "training/trainer.h"

namespace edgecompress {

/// What came before an end-to-end training, and is not to be done again.
struct TrainingPrelude {
  std::optional<double> perplexity_increase = {};       ///< measured for a gate
  std::optional<BlockTrainingReport> blocks = {};       ///< of the phase before
  std::map<std::string, std::string> block_files = {};  ///< of the output, with SHA-256
};

/// Where an interrupted end-to-end training stood.
struct InterruptedTraining {
  TrainingPrelude prelude;
  TrainingState state;
};

/// How far a training of decoder blocks one by one came.
struct BlockTrainingProgress {
  std::optional<double> perplexity_increase = {};  ///< measured for a gate
  BlockTrainingReport report;                      ///< of the blocks that are done
  WrittenShards shards;                            ///< of the embedding and these blocks
};

/// Notes the state of a training, so that an interrupted one goes on with the same bytes: every
/// trained block, and an end-to-end training between its steps. Tensors and hidden states lie
/// beside the journal, raw floats one after the other; what the journal had of the run before the
/// training stays in it.
class TrainingJournal {
 public:
  /// output, journal: must outlive this object.
  TrainingJournal(StagedFolder& output, RunJournal& journal) : output_(output), journal_(journal) {}

  /// Nothing when no end-to-end training was interrupted.
  /// Throws Error{Conflict} O-STATE when the journal lacks what a training needs.
  std::optional<InterruptedTraining> interrupted() const;

  /// Nothing when no training of blocks was interrupted. Throws as interrupted().
  std::optional<BlockTrainingProgress> interrupted_blocks() const;

  /// Fills the hidden states with those that were noted with interrupted_blocks().
  void restore_blocks(const std::vector<HiddenStates*>& states) const;

  /// states: what the next block works on. Cost: writes and syncs them.
  void note_block(const BlockTrainingProgress& progress, std::int64_t blocks,
                  const std::vector<HiddenStates*>& states);

  /// Cost: writes and syncs four tensors for each parameter.
  void note(const TrainingPrelude& prelude, const TrainingState& state);

 private:
  JournalEntry entry_without_training() const;

  StagedFolder& output_;
  RunJournal& journal_;
};

}  // namespace edgecompress
