#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/hidden_states.h"
#include "llama/checkpoint_writer.h"
#include "report/report.h"
#include "resume/run_journal.h"

namespace edgecompress {

/// What a walk carries from one decoder block to the next, but for hidden states.
struct WalkProgress {
  /// Weights that one stage of the model had so far.
  struct Counted {
    std::int64_t zeros = 0;
    std::int64_t weights = 0;
  };
  std::int64_t blocks_done = 0;
  std::vector<Counted> stages;
  std::vector<TensorReport> tensors;
  WrittenShards shards;
};

/// Notes every finished decoder block, so that an interrupted walk can go on behind it with the
/// same bytes. The hidden states lie beside the journal, raw floats one after the other; the file
/// before is deleted when the new one counts.
class WalkJournal {
 public:
  /// output, journal: must outlive this object.
  WalkJournal(StagedFolder& output, RunJournal& journal) : output_(output), journal_(journal) {}

  /// What the interrupted walk had done; nothing when there was none.
  std::optional<WalkProgress> resumed() const;

  /// Fills hidden states of the same sizes with those that were noted, in the same order.
  void restore(const std::vector<HiddenStates*>& states) const;

  /// Cost: writes and syncs the hidden states.
  void note(const WalkProgress& progress, std::int64_t blocks,
            const std::vector<HiddenStates*>& states);

 private:
  StagedFolder& output_;
  RunJournal& journal_;
};

}  // namespace edgecompress
