#include "pipeline/artifact_check.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "ort/session.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kComparedWindows = 4;  // logits of more windows show nothing new
constexpr std::int64_t kSplitTokens = 48;
constexpr std::int64_t kRandomWindows = 2;
constexpr std::int64_t kRandomLength = 192;

enum class Arithmetic {
  Published,  ///< as a user's session computes
  Exact,  ///< no rounding of activations, also where ONNX Runtime fuses DequantizeLinear and MatMul
};

DecoderSession open_session(const OnnxRuntime& runtime, const std::filesystem::path& graph,
                            const RunOptions& options, Arithmetic arithmetic) {
  OnnxSessionOptions session{.num_threads = options.compute.num_threads,
                             .custom_ops_library = operators_for(graph),
                             .config_entries = {{"session.intra_op.allow_spinning", "0"}}};
  if (arithmetic == Arithmetic::Exact) {
    session.config_entries.emplace_back("session.qdq_matmulnbits_accuracy_level", "0");
  }
  return {runtime, graph, session};
}

TokenWindows first_windows(const TokenWindows& windows, std::int64_t count) {
  TokenWindows first = windows;
  first.count = std::min(count, windows.count);
  first.ids.resize(static_cast<std::size_t>(first.count * first.length));
  return first;
}

void refuse_mismatch(const std::string& what, double found, double allowed) {
  if (found <= allowed) return;
  throw Error(ErrorKind::Numeric, "A-MISMATCH",
              concat("the artifact does not compute what the compressed model computes: ", what,
                     " is ", found, ", allowed is ", allowed,
                     ". Nothing was published. This is a defect of edgecompress or of the ONNX "
                     "Runtime used; please report it"));
}

}  // namespace

std::filesystem::path operators_for(const std::filesystem::path& graph) {
  if (!needs_operator_library(graph)) return {};
  return find_operator_library();
}

TokenWindows random_check_windows(const LlamaConfig& config, std::int64_t context_tokens) {
  const std::int64_t length =
      std::min({kRandomLength, config.max_position_embeddings, context_tokens});
  const auto vocab_size = static_cast<std::uint64_t>(config.vocab_size);
  std::mt19937_64 generator(7);  // its sequence is fixed by the C++ standard
  std::vector<std::int32_t> ids(static_cast<std::size_t>(kRandomWindows * length));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(generator() % vocab_size);
  return cut_windows(ids, {.length = length, .max_count = {}}, "random token ids");
}

ArtifactReport check_on_random_tokens(const ModelFolder& model, const RunnableGraph& graph,
                                      const ArtifactTolerance& tolerance, const RunOptions& options,
                                      const Progress& progress) {
  const TokenWindows windows = random_check_windows(model.config(), graph.context_tokens);
  HiddenStates states = final_hidden_states(model, windows, options.compute, progress);
  const LanguageModelHead head = evaluated_head(model, options.compute);
  return check_artifact(graph.path,
                        {.windows = windows,
                         .origin = WindowOrigin::Random,
                         .logits = window_logits(states, head),
                         .tolerance = tolerance},
                        options);
}

ArtifactTolerance artifact_tolerance(const ExportOptions& exporting, ActivationRounding rounding) {
  const bool rounded = exporting.sparse && exporting.sparse->scale_type == ScaleType::Float16;
  if (rounded) return {.logits = kRoundedScalesTolerance};
  if (rounding == ActivationRounding::None) return {};
  return rounding == ActivationRounding::Int8PerTensor ? kPerTensorTolerance : kPerTokenTolerance;
}

ArtifactReport check_artifact(const std::filesystem::path& graph,
                              const ArtifactReference& reference, const RunOptions& options) {
  const OnnxRuntime runtime(find_onnxruntime(options.onnxruntime));
  ArtifactReport report;
  report.onnxruntime_version = runtime.version();

  const std::filesystem::path exact_graph = graph.parent_path() / "exact.onnx";
  write_exact_graph(graph, exact_graph);
  LanguageModelScores exact;
  double max_logit = 0;
  {
    DecoderSession session = open_session(runtime, exact_graph, options, Arithmetic::Exact);
    const WindowLogits logits = artifact_logits(session, reference.windows);
    const TokenWindows compared = first_windows(reference.windows, kComparedWindows);
    const LogitAgreement agreement = compare_logits(compared, reference.logits, logits);
    report.max_logit_error = agreement.max_error;
    report.mean_logit_error = agreement.mean_error;
    max_logit = agreement.max_logit;
    report.cache_split_error = cache_split_error(session, reference.windows, kSplitTokens);
    exact = score_windows(reference.windows, logits, reference.logits);
    report.kl_divergence_nats = exact.kl_divergence_nats.value();
    report.top1_agreement = exact.top1_agreement.value();
  }
  std::filesystem::remove(exact_graph);
  refuse_mismatch("the largest logit difference", *report.max_logit_error,
                  reference.tolerance.logits * max_logit);
  refuse_mismatch("the largest difference between prefill and token by token",
                  *report.cache_split_error, reference.tolerance.cache_split * max_logit);
  refuse_mismatch("the KL divergence", *report.kl_divergence_nats, reference.tolerance.divergence);
  if (reference.origin == WindowOrigin::Random) return report;

  const double expected = score_windows(reference.windows, reference.logits, {}).perplexity;
  refuse_mismatch("the relative perplexity difference", std::abs(exact.perplexity / expected - 1),
                  reference.tolerance.perplexity);
  report.perplexity_exact = exact.perplexity;
  DecoderSession published = open_session(runtime, graph, options, Arithmetic::Published);
  report.perplexity_published =
      score_windows(reference.windows, artifact_logits(published, reference.windows), {})
          .perplexity;
  return report;
}

DecoderSpeed artifact_speed(const RunnableGraph& graph, const TokenWindows& windows,
                            const RunOptions& options) {
  const OnnxRuntime runtime(find_onnxruntime(options.onnxruntime));
  DecoderSession session = open_session(runtime, graph.path, options, Arithmetic::Published);
  return measure_speed(session, windows, {.context_tokens = graph.context_tokens});
}

}  // namespace edgecompress
