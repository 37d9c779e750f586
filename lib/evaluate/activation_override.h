#pragma once

#include <cstdint>
#include <string>

#include "decoder/block_weights.h"
#include "decoder/language_model_head.h"
#include "llama/model_folder.h"

namespace edgecompress {

/// How layers of the model round their inputs by its folder: Int8PerToken when one does.
ActivationRounding folder_rounding(const ModelFolder& model);

/// How a layer of a decoder block, or the head, rounds its inputs when the model's do in this way,
/// whatever the folder says. Layers with float weights do not round. Blocks of Int8PerBlock are
/// those of MatMulNBits. The head rounds only where an artifact's does: with Int8PerBlock when it
/// is quantized, otherwise when the folder says so. Throws Error{Unsupported} X1 with Int8PerBlock
/// for a group size that MatMulNBits does not take.
ActivationScheme rounding_in(const ModelFolder& model, const std::string& module,
                             ActivationRounding rounding);

/// Makes the quantized layers of a block round their inputs in this way (rounding_in).
void round_inputs(BlockWeights& weights, const ModelFolder& model, std::int64_t block,
                  ActivationRounding rounding);

/// The same for the head.
void round_inputs(LanguageModelHead& head, const ModelFolder& model, ActivationRounding rounding);

}  // namespace edgecompress
