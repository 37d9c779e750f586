#pragma once

#include <string>
#include <vector>

#include "llama/config.h"

namespace edgecompress {

/// Names of published models whose config is known without a folder, for plans: "llama-2-7b".
std::vector<std::string> known_shape_names();

/// The config of one of them. Throws Error{Usage} U-SHAPE for another name.
LlamaConfig known_shape(const std::string& name);

}  // namespace edgecompress
