#pragma once

#include <string>

#include "llama/model_folder.h"
#include "pipeline/compression_walk.h"
#include "pipeline/run_options.h"
#include "recipe/recipe.h"
#include "resume/run_journal.h"

namespace edgecompress {

/// Everything that decides the bytes a run writes: the program itself and the instruction set of
/// its kernels, the command with its flags, the recipe's text, the token ids, config.json,
/// tokenizer files, and every shard by size, modification time and the hash of its first and last
/// MiB.
///
/// recipe, texts: nothing of them for an export.
Fingerprint run_fingerprint(const std::string& command, const RunOptions& options,
                            const ModelFolder& model, const Recipe* recipe, const WalkTexts* texts);

/// Adds what identifies a model folder; prefix: before every field's name.
void add_model(Fingerprint& fingerprint, const std::string& prefix, const ModelFolder& model);

/// Adds the windows of a text; nothing without one.
void add_tokens(Fingerprint& fingerprint, const std::string& field,
                const std::optional<TokenWindows>& windows);

}  // namespace edgecompress
