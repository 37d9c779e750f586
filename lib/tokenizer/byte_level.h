#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace edgecompress::tokenizer_internal {

/// Writes every byte as one visible character, as GPT-2's encoder does.
std::string bytes_to_characters(std::string_view bytes);

/// The inverse; nothing when a character stands for no byte.
std::optional<std::string> characters_to_bytes(std::string_view characters);

}  // namespace edgecompress::tokenizer_internal
