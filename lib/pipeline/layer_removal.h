#pragma once

#include <cstdint>
#include <vector>

#include "base/progress.h"
#include "calibrate/token_windows.h"
#include "evaluate/model_evaluation.h"
#include "llama/model_folder.h"

namespace edgecompress {

/// The `count` decoder blocks whose removal costs the least perplexity on the text, ascending: one
/// after the other, each time the block without which what is left has the lowest. Of equals the
/// later one.
///
/// count: less than the model has blocks. In memory: one block, two sets of hidden states, the
/// head. The same for any number of threads.
/// Cost: for each removal from n blocks the text through n (n + 1) / 2 blocks and n times through
/// the head.
/// Source: pruning of whole blocks by perplexity, Shortened LLaMA, arXiv 2402.02834, section 3.1;
/// there all at once.
std::vector<std::int64_t> blocks_to_remove(const ModelFolder& model, const TokenWindows& text,
                                           std::int64_t count, const EvaluationOptions& compute,
                                           const Progress& progress);

}  // namespace edgecompress
