#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/staged_output.h"
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

/// Notes the state of an end-to-end training, so that an interrupted one goes on with the same
/// bytes. The tensors lie beside the journal, raw floats one after the other; what the journal had
/// of the run before the training stays in it.
class TrainingJournal {
 public:
  /// output, journal: must outlive this object.
  TrainingJournal(StagedFolder& output, RunJournal& journal) : output_(output), journal_(journal) {}

  /// Nothing when no training was interrupted.
  /// Throws Error{Conflict} O-STATE when the journal lacks what a training needs.
  std::optional<InterruptedTraining> interrupted() const;

  /// Cost: writes and syncs four tensors for each parameter.
  void note(const TrainingPrelude& prelude, const TrainingState& state);

 private:
  StagedFolder& output_;
  RunJournal& journal_;
};

}  // namespace edgecompress
