#pragma once

#include "recipe/node.h"

namespace edgecompress {

/// Puts `own` over `base`: maps merge by key, texts and lists replace. The entries of `steps` merge
/// by `id`; `remove: true` takes one out, a new one is appended or placed behind `after: ID`.
/// Adds R13 for a step to remove or follow that is not there.
void merge_recipe(YamlNode& base, const YamlNode& own, Problems& problems);

void remove_key(YamlNode& map, std::string_view key);

}  // namespace edgecompress
