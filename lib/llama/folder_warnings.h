#pragma once

#include <string>
#include <vector>

#include "llama/model_folder.h"

namespace edgecompress {

/// What is odd in a model folder but does no harm: TensorStore's warnings, and C17 and T19 of
/// docs/security.md.
std::vector<std::string> folder_warnings(const ModelFolder& model);

}  // namespace edgecompress
