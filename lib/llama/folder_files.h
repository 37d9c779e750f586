#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace edgecompress {

/// Names of the files in a model folder that decide what is computed: config.json, tokenizer.json,
/// the index and every *.safetensors file, sorted. Throws Error{Missing} F-OPEN when the folder
/// cannot be read.
std::vector<std::string> computed_files(const std::filesystem::path& folder);

}  // namespace edgecompress
