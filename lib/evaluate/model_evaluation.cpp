#include "evaluate/model_evaluation.h"

#include "base/error.h"
#include "evaluate/activation_override.h"
#include "tensor/aten.h"

namespace edgecompress {

HiddenStates final_hidden_states(const ModelFolder& model, const TokenWindows& windows,
                                 const EvaluationOptions& options, const Progress& progress) {
  const LlamaConfig& config = model.config();
  HiddenStates states(windows, model.matrix(kEmbeddingModule), options.storage);
  const RotaryTable rotary = make_rotary_table(config, windows.length, options.target.device);
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    BlockWeights weights = load_block(model, block, options.num_threads);
    if (options.activations) round_inputs(weights, model, block, *options.activations);
    advance(states, to_target(weights, options.target), rotary, options.target);
    if (progress) progress({"evaluate", block + 1, config.num_blocks()});
  }
  model.store().ensure_unchanged();
  return states;
}

LanguageModelHead evaluated_head(const ModelFolder& model, const EvaluationOptions& options) {
  LanguageModelHead head = load_head(model, options.num_threads);
  if (options.activations) round_inputs(head, model, *options.activations);
  return head;
}

WindowLogits window_logits(HiddenStates& states, const LanguageModelHead& head) {
  return [&states, &head](std::int64_t window) {
    return head_logits(head, states.windows(window, window + 1).squeeze(0));
  };
}

LanguageModelScores score_windows(const TokenWindows& windows, const WindowLogits& logits,
                                  const WindowLogits& reference) {
  ScoreSum sum;
  for (std::int64_t i = 0; i < windows.count; ++i) {
    sum.add_window(logits(i), windows.window(i), reference ? reference(i) : at::Tensor());
  }
  return sum.scores();
}

LanguageModelScores evaluate_model(const ModelFolder& model, const ModelFolder* reference,
                                   const TokenWindows& windows, const EvaluationOptions& options,
                                   const Progress& progress) {
  HiddenStates states = final_hidden_states(model, windows, options, progress);
  const LanguageModelHead head = evaluated_head(model, options);
  if (reference == nullptr) return score_windows(windows, window_logits(states, head), {});

  EvaluationOptions reference_options = options;
  reference_options.activations.reset();
  HiddenStates reference_states =
      final_hidden_states(*reference, windows, reference_options, progress);
  const LanguageModelHead reference_head = load_head(*reference, options.num_threads);
  return score_windows(windows, window_logits(states, head),
                       window_logits(reference_states, reference_head));
}

}  // namespace edgecompress
