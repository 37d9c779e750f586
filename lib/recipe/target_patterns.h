#pragma once

#include <string>
#include <string_view>

namespace edgecompress {

/// Why the text is no target pattern; empty when it is one.
std::string target_pattern_complaint(std::string_view pattern);

/// True when the pattern matches the whole module name.
/// Throws Error{Usage}, R16, for what target_pattern_complaint() complains about and for a regular
/// expression that takes too long.
bool pattern_matches(std::string_view pattern, std::string_view module);

}  // namespace edgecompress
