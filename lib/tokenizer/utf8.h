#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace edgecompress::tokenizer_internal {

/// One step through bytes that should be UTF-8.
struct Utf8Step {
  std::size_t bytes;  ///< of the character, or of the longest prefix a character could have (>= 1)
  bool valid;
};

/// Looks at the character that starts at `at` < text.size() (Unicode 15, table 3-7).
Utf8Step utf8_step(std::string_view text, std::size_t at);

/// Bytes of the character with this first byte, in text known to be valid.
inline std::size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// The code point that starts at `at`, in text known to be valid.
char32_t utf8_code_point(std::string_view text, std::size_t at);

void append_utf8(std::string& out, char32_t code_point);

/// Returns the offset of the first byte that is not part of a valid character.
std::optional<std::size_t> find_malformed_utf8(std::string_view text);

/// Every malformed maximal subpart becomes one U+FFFD, as Rust's String::from_utf8_lossy does.
std::string utf8_lossy(std::string_view bytes);

}  // namespace edgecompress::tokenizer_internal
