#include "pipeline/model_scores.h"

#include <optional>

#include "base/error.h"
#include "evaluate/activation_override.h"
#include "evaluate/artifact_evaluation.h"
#include "evaluate/model_evaluation.h"
#include "ort/session.h"
#include "pipeline/artifact_check.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {
namespace {

void refuse_unknown_protocol(const std::string& protocol) {
  if (protocol == "gptq-2048") return;
  throw Error(ErrorKind::Usage, "E-PROTOCOL",
              concat("unknown protocol \"", protocol, "\"; known: gptq-2048"));
}

void refuse_long_windows(const LlamaConfig& config, std::int64_t length) {
  if (length <= config.max_position_embeddings) return;
  throw Error(ErrorKind::Usage, "E-WINDOW",
              concat("a window of ", length, " tokens is longer than the model's context of ",
                     config.max_position_embeddings, "; give --window ",
                     config.max_position_embeddings, " or less"));
}

EvalResult eval_model(const EvalRequest& request, const Progress& progress) {
  const ModelFolder model = ModelFolder::open(request.model);
  refuse_long_windows(model.config(), request.windows.length);
  std::optional<ModelFolder> against;
  if (!request.against.empty()) against.emplace(ModelFolder::open(request.against));
  EvalResult result;
  result.activations = request.compute.activations.value_or(folder_rounding(model));
  result.windows = read_token_windows(request.text, Tokenizer::open(request.model), request.windows,
                                      model.config().vocab_size);
  result.scores = evaluate_model(model, against ? &*against : nullptr, result.windows,
                                 request.compute, progress);
  return result;
}

EvalResult eval_artifact(const EvalRequest& request, const Progress& progress) {
  const OnnxRuntime runtime(find_onnxruntime(request.onnxruntime));
  const std::filesystem::path graph = request.artifact / "model.onnx";
  DecoderSession session(runtime, graph,
                         {.num_threads = request.compute.num_threads,
                          .custom_ops_library = operators_for(graph),
                          .config_entries = {{"session.intra_op.allow_spinning", "0"}}});
  EvalResult result;
  result.windows = read_token_windows(request.text, Tokenizer::open(request.artifact),
                                      request.windows, session.vocab_size());
  const WindowLogits artifact = artifact_logits(session, result.windows);
  const WindowLogits logits = [&](std::int64_t window) {
    if (progress) progress({"evaluate", window, result.windows.count});
    return artifact(window);
  };
  if (request.against.empty()) {
    result.scores = score_windows(result.windows, logits, {});
    return result;
  }
  const ModelFolder against = ModelFolder::open(request.against);
  HiddenStates states = final_hidden_states(against, result.windows, request.compute, progress);
  const LanguageModelHead head = load_head(against, request.compute.num_threads);
  result.scores = score_windows(result.windows, logits, window_logits(states, head));
  return result;
}

}  // namespace

EvalResult run_eval(const EvalRequest& request, const Progress& progress) {
  ensure(request.model.empty() != request.artifact.empty(), "a model or an artifact");
  refuse_unknown_protocol(request.protocol);
  return request.artifact.empty() ? eval_model(request, progress)
                                  : eval_artifact(request, progress);
}

}  // namespace edgecompress
