#pragma once

#include <cstddef>
#include <string_view>

namespace edgecompress::tokenizer_internal {

/// Whether the last or the first character is a word character (Unicode TR 18: Alphabetic, Mark,
/// Decimal_Number, Connector_Punctuation, Join_Control); false for empty text. All text here is
/// valid UTF-8.
bool ends_with_word(std::string_view text);
bool starts_with_word(std::string_view text);

/// Bytes of the White_Space characters at the end or the start.
std::size_t space_at_end(std::string_view text);
std::size_t space_at_start(std::string_view text);

}  // namespace edgecompress::tokenizer_internal
