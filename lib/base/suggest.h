#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace edgecompress {

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate that is most likely meant; empty when none is near (a third of its letters at
/// most).
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace edgecompress
