#pragma once

#include <string>

#include "calibrate/token_windows.h"
#include "evaluate/model_evaluation.h"
#include "llama/config.h"
#include "llama/model_folder.h"
#include "recipe/recipe.h"
#include "report/report.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {

/// Throws Error{Usage} E-WINDOW when `length` tokens are more than the model's context. what: what
/// has that length, for the message.
void refuse_long_windows(const LlamaConfig& config, std::int64_t length, const std::string& what);

/// The windows that a model is trained on. Throws as refuse_long_windows and read_token_windows.
TokenWindows read_training_windows(const TrainingText& text, const ModelFolder& model,
                                   const Tokenizer& tokenizer);

/// How a run that scores these windows measures perplexity.
EvaluationReport evaluation_report(const Evaluation& evaluation, const TokenWindows& windows,
                                   const EvaluationOptions& compute);

}  // namespace edgecompress
