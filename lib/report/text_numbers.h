#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

#include "base/error.h"

namespace edgecompress {

/// A few numbers as printf writes them, at most 63 characters.
template <typename... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 64> text{};
  const int length = std::snprintf(text.data(), text.size(), format, values...);
  ensure(length >= 0 && static_cast<std::size_t>(length) < text.size(),
         "a number to fit 63 characters");
  return text.data();
}

/// "1.24 B": a count with the unit that leaves one to three digits before the point.
std::string count_text(std::int64_t value);
/// "669.48 MiB"
std::string size_text(std::int64_t bytes);

}  // namespace edgecompress
