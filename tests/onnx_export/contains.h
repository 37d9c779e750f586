#pragma once

#include <string>
#include <string_view>

namespace edgecompress {

/// True when `text` has `part` in it.
inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace edgecompress
