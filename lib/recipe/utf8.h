#pragma once

#include <cstddef>
#include <string_view>

namespace edgecompress {

/// Bytes of the UTF-8 character that `text` starts with (RFC 3629: no overlong form, no surrogate,
/// at most U+10FFFF); 0 when there is none.
std::size_t utf8_character_length(std::string_view text);

}  // namespace edgecompress
