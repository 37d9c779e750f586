#pragma once

#include <cstdint>

#include "decoder/block_weights.h"
#include "decoder/language_model_head.h"
#include "llama/model_folder.h"

namespace edgecompress {

/// How layers of the model round their inputs by its folder: Int8PerToken when one does.
ActivationRounding folder_rounding(const ModelFolder& model);

/// Makes the quantized layers of a block round their inputs in this way, whatever the folder says.
/// Layers with float weights do not round. Blocks of Int8PerBlock are those of MatMulNBits.
/// Throws Error{Unsupported} X1 with Int8PerBlock for a group size that MatMulNBits does not take.
void round_inputs(BlockWeights& weights, const ModelFolder& model, std::int64_t block,
                  ActivationRounding rounding);

/// The same for the head, which rounds only where an artifact's does: with Int8PerBlock when it is
/// quantized, otherwise when the folder says so.
void round_inputs(LanguageModelHead& head, const ModelFolder& model, ActivationRounding rounding);

}  // namespace edgecompress
