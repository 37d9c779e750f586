#pragma once

#include <filesystem>

#include "base/staged_output.h"
#include "evaluate/model_evaluation.h"

namespace edgecompress {

enum class Checkpoint { Discard, Keep };
enum class ArtifactCheck { Run, Skip };
enum class SpeedTest { Run, Skip };
/// What happens to an output that misses a gate.
enum class GateFailure { Publish, Discard };

/// What a run may use; nothing here changes a byte of the result.
struct RunOptions {
  std::filesystem::path model;
  std::filesystem::path output;
  ExistingOutput existing = ExistingOutput::Refuse;
  EvaluationOptions compute;
  Checkpoint checkpoint =
      Checkpoint::Discard;  ///< keep the compressed checkpoint beside an exported artifact
  ArtifactCheck artifact_check = ArtifactCheck::Run;
  SpeedTest speed_test = SpeedTest::Run;
  GateFailure gate_failure = GateFailure::Publish;
  std::filesystem::path onnxruntime;  ///< empty: find_onnxruntime's places
};

}  // namespace edgecompress
