#pragma once

#include <functional>
#include <optional>

#include <ATen/core/Tensor.h>

#include "base/progress.h"
#include "calibrate/hidden_states.h"
#include "decoder/language_model_head.h"
#include "evaluate/token_scores.h"
#include "llama/model_folder.h"

namespace edgecompress {

struct EvaluationOptions {
  ComputeTarget target;
  HiddenStateStorage storage;
  int num_threads = 1;
  /// How quantized layers round their inputs; nothing: as the model's folder says.
  std::optional<ActivationRounding> activations = {};
};

/// The head, its input rounded as `options` say.
LanguageModelHead evaluated_head(const ModelFolder& model, const EvaluationOptions& options);

/// Walks a model block by block. Returns the hidden states before the final norm.
/// Cost: one decoder block and the states in memory.
HiddenStates final_hidden_states(const ModelFolder& model, const TokenWindows& windows,
                                 const EvaluationOptions& options, const Progress& progress);

/// The logits of one window, [length, vocab_size].
using WindowLogits = std::function<at::Tensor(std::int64_t window)>;

/// From final hidden states. Both must outlive the result.
WindowLogits window_logits(HiddenStates& states, const LanguageModelHead& head);

/// Scores a model's windows, against a reference when there is one.
LanguageModelScores score_windows(const TokenWindows& windows, const WindowLogits& logits,
                                  const WindowLogits& reference);

/// Perplexity of a model folder on windows, with KL divergence and top-1 agreement to `reference`
/// when not nullptr.
LanguageModelScores evaluate_model(const ModelFolder& model, const ModelFolder* reference,
                                   const TokenWindows& windows, const EvaluationOptions& options,
                                   const Progress& progress);

}  // namespace edgecompress
