#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace edgecompress {

inline constexpr std::size_t kMostTensors = 1'000'000;

/// Throws Error{Malformed} S33.
[[noreturn]] void refuse_many_tensors(const std::string& source);

struct HeaderScan {
  std::size_t objects = 0;       ///< opening braces outside strings: at least the number of tensors
  std::size_t string_bytes = 0;  ///< raw bytes inside strings: at least the bytes of all names
};

/// Looks once over a safetensors header before the JSON parser sees it, for what would cost that
/// parser memory or what it lets pass. Throws Error{Malformed}: S6 not UTF-8; S7 a NUL outside a
/// string or no '{' at all; S8 another JSON value; S9 a byte order mark; S10 blanks first; S31 an
/// overlong string; S33 nested deeper than 4 or more than 1,000,000 tensors.
HeaderScan scan_safetensors_header(std::string_view header, const std::string& source);

}  // namespace edgecompress
