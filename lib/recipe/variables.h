#pragma once

#include "recipe/node.h"

namespace edgecompress {

/// Replaces ${vars.NAME} in every value by what `vars` says, once; a value that is nothing else
/// takes the variable's own type. Takes `vars` out. Returns whether there was any.
/// Adds R6 for an unknown variable and R9 for one that is not a single value.
bool put_variables_in(YamlNode& root, Problems& problems);

}  // namespace edgecompress
