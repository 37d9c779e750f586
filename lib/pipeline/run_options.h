#pragma once

#include <filesystem>
#include <functional>

#include "base/staged_output.h"
#include "evaluate/model_evaluation.h"

namespace edgecompress {

enum class Checkpoint { Discard, Keep };
enum class ArtifactCheck { Run, Skip };
enum class SpeedTest { Run, Skip };

/// What a run may use; nothing here changes a byte of the result, unless it is stopped.
struct RunOptions {
  std::filesystem::path model;
  std::filesystem::path output;
  ExistingOutput existing = ExistingOutput::Refuse;
  EvaluationOptions compute;
  Checkpoint checkpoint =
      Checkpoint::Discard;  ///< keep the compressed checkpoint beside an exported artifact
  ArtifactCheck artifact_check = ArtifactCheck::Run;
  SpeedTest speed_test = SpeedTest::Run;
  std::filesystem::path onnxruntime;     ///< empty: find_onnxruntime's places
  std::function<bool()> stop_requested;  ///< asked while training, which then ends early and keeps
                                         ///< its best state; may be empty
};

}  // namespace edgecompress
