#pragma once

#include <string>

#include "recipe/node.h"

namespace edgecompress {

/// Applies one --set flag, "path=value", to a merged recipe.
///
/// The path is keys joined by dots; a step is named by its id, an entry of another list by its
/// index: "steps.quant.quantize.weights.bits". The value is plain text, or a list, map or quoted
/// text as JSON writes it; "null" takes the key out. text: the current source of `problems`.
/// Adds R21 for a path that the language does not have; the value's type is checked with the rest.
void apply_override(YamlNode& root, const std::string& text, Problems& problems);

}  // namespace edgecompress
