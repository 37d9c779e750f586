#pragma once

#include <filesystem>
#include <limits>
#include <optional>

#include "calibrate/token_windows.h"
#include "evaluate/artifact_evaluation.h"
#include "onnx_export/export_model.h"
#include "pipeline/run_options.h"
#include "report/report.h"

namespace edgecompress {

/// Largest logit difference a correct artifact may show at accuracy level 0, as a share of the
/// model's largest logit. Both sides compute in float with sums of a few thousand terms in
/// different orders, which costs about 1e-5.
inline constexpr double kLogitTolerance = 5e-4;
/// The same when the artifact's scales were rounded to 16 bits, which moves each weight by up to
/// 2^-11 = 4.9e-4 of it.
inline constexpr double kRoundedScalesTolerance = 5e-3;
/// Largest relative difference of the perplexities at accuracy level 0.
inline constexpr double kPerplexityTolerance = 1e-3;

/// What an artifact may differ by. Where inputs are rounded to 8 bits, a difference of 1e-7 moves
/// some of them to the next code, and inputs of later layers with them: two correct computations
/// then differ by a part of what rounding itself costs.
struct ArtifactTolerance {
  double logits = kLogitTolerance;           ///< share of the largest logit
  double cache_split = kLogitTolerance;      ///< the same, a prompt against its tokens one by one
  double perplexity = kPerplexityTolerance;  ///< relative
  double divergence =
      std::numeric_limits<double>::infinity();  ///< mean KL(model || artifact), nats
};
inline constexpr ArtifactTolerance kPerTokenTolerance{
    .logits = 0.25, .cache_split = 0.25, .perplexity = 0.01, .divergence = 0.02};
/// One range for all tokens of a call: a prompt is not computed as its tokens one by one.
inline constexpr ArtifactTolerance kPerTensorTolerance{
    .logits = 0.5,
    .cache_split = std::numeric_limits<double>::infinity(),
    .perplexity = 0.05,
    .divergence = 0.5};

/// Whether perplexities mean anything: ids drawn at random have none worth reporting.
enum class WindowOrigin { Text, Random };

/// The compressed model an artifact is compared with.
struct ArtifactReference {
  const TokenWindows& windows;
  WindowOrigin origin;
  WindowLogits logits;
  ArtifactTolerance tolerance = {};
};

/// The operator library a session needs to load the graph; empty: none.
/// Throws Error{Missing} O08.
std::filesystem::path operators_for(const std::filesystem::path& graph);

/// A graph to be run.
struct RunnableGraph {
  std::filesystem::path path;
  std::int64_t context_tokens = 0;  ///< that it can hold
};

/// Token ids drawn from a fixed seed: enough to compare logits and to time when no text is given.
/// context_tokens: of the artifact.
TokenWindows random_check_windows(const LlamaConfig& config, std::int64_t context_tokens);

/// Runs an artifact in ONNX Runtime and compares it with the model in memory: logits, KL
/// divergence, top-1 and perplexity with exact arithmetic (accuracy level 0), the perplexity as
/// published, and a prefill against token by token. Throws Error{Numeric} A-MISMATCH when a
/// difference is beyond the tolerances above.
ArtifactReport check_artifact(const std::filesystem::path& graph,
                              const ArtifactReference& reference, const RunOptions& options);

/// The same with random_check_windows and the logits of the model folder itself.
ArtifactReport check_on_random_tokens(const ModelFolder& model, const RunnableGraph& graph,
                                      const ArtifactTolerance& tolerance, const RunOptions& options,
                                      const Progress& progress);

/// What an artifact made with these options may differ by whose products round their inputs so.
ArtifactTolerance artifact_tolerance(const ExportOptions& exporting, ActivationRounding rounding);

/// Prefill and decode speed of a graph with the run's threads.
DecoderSpeed artifact_speed(const RunnableGraph& graph, const TokenWindows& windows,
                            const RunOptions& options);

}  // namespace edgecompress
