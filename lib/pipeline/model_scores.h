#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/progress.h"
#include "calibrate/token_windows.h"
#include "evaluate/token_scores.h"
#include "pipeline/run_options.h"

namespace edgecompress {

/// What `eval` measures.
struct EvalRequest {
  std::filesystem::path model;     ///< a model folder; or
  std::filesystem::path artifact;  ///< an ONNX folder; exactly one of the two
  std::filesystem::path against;   ///< a model folder to compare with; empty: none
  std::filesystem::path text;
  std::string protocol = "gptq-2048";
  WindowChoice windows{.length = 2048, .max_count = {}};
  EvaluationOptions compute;
  std::filesystem::path onnxruntime;
};

struct EvalResult {
  /// How the model rounded its inputs; nothing for an artifact.
  std::optional<ActivationRounding> activations = {};
  LanguageModelScores scores;
  TokenWindows windows;
};

/// Throws Error{Usage} for an unknown protocol or a window longer than the model's context.
EvalResult run_eval(const EvalRequest& request, const Progress& progress);

}  // namespace edgecompress
