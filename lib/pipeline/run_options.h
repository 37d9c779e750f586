#pragma once

#include <filesystem>
#include <functional>

#include "base/staged_output.h"
#include "evaluate/model_evaluation.h"
#include "resume/run_journal.h"

namespace edgecompress {

enum class Checkpoint { Discard, Keep };
enum class ArtifactCheck { Run, Skip };
enum class SpeedTest { Run, Skip };
/// What happens to an output that misses a gate.
enum class GateFailure { Publish, Discard };

/// What a run may use. Nothing here changes a byte of the result, but for which parts are written
/// and when training is stopped.
struct RunOptions {
  std::filesystem::path model;
  std::filesystem::path input_manifest;  ///< that the model's files must be in; empty: none
  std::filesystem::path output;
  ExistingOutput existing = ExistingOutput::Refuse;
  EvaluationOptions compute;
  Checkpoint checkpoint =
      Checkpoint::Discard;  ///< keep the compressed checkpoint beside an exported artifact
  ArtifactCheck artifact_check = ArtifactCheck::Run;
  SpeedTest speed_test = SpeedTest::Run;
  GateFailure gate_failure = GateFailure::Publish;
  std::uint64_t memory_budget = 0;  ///< bytes; 0: default_memory_budget()
  ResumeMode resume = ResumeMode::Never;
  Fingerprint request = {};              ///< flags that decide what is written, for the journal
  std::filesystem::path onnxruntime;     ///< empty: find_onnxruntime's places
  std::function<bool()> stop_requested;  ///< asked while training, which then ends early and keeps
                                         ///< its best state; may be empty
};

}  // namespace edgecompress
