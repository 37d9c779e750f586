#include "pipeline/run_texts.h"

#include "base/error.h"

namespace edgecompress {

void refuse_long_windows(const LlamaConfig& config, std::int64_t length, const std::string& what) {
  if (length <= config.max_position_embeddings) return;
  throw Error(ErrorKind::Usage, "E-WINDOW",
              concat(what, " is ", length, " tokens, longer than the model's context of ",
                     config.max_position_embeddings, "; set it to that or less"));
}

TokenWindows read_training_windows(const TrainingText& text, const ModelFolder& model,
                                   const Tokenizer& tokenizer) {
  refuse_long_windows(model.config(), text.sequence_length, "the window of the training text");
  return read_token_windows(text.text, tokenizer,
                            {.length = text.sequence_length, .max_count = text.samples},
                            model.config().vocab_size);
}

EvaluationReport evaluation_report(const Evaluation& evaluation, const TokenWindows& windows,
                                   const EvaluationOptions& compute) {
  return {.protocol = evaluation.protocol,
          .text = windows.source,
          .window = windows.length,
          .windows = windows.count,
          .target_tokens = windows.count * (windows.length - 1),
          .token_sha256 = windows.sha256,
          .dtype = compute.target.dtype == at::kBFloat16 ? "bfloat16" : "float32"};
}

}  // namespace edgecompress
