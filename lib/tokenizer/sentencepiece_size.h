#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace edgecompress {

/// Counts the pieces of a SentencePiece tokenizer.model. Returns nothing for a file of another kind
/// (Llama 3's tokenizer.model is a text).
/// Source: sentencepiece_model.proto, ModelProto: field 1 is the repeated message of a piece.
std::optional<std::int64_t> sentencepiece_size(std::span<const std::byte> file);

}  // namespace edgecompress
