#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "base/progress.h"

namespace edgecompress {

/// SHA-256 by file name, as a publisher states it: edgecompress.manifest.json, or lines of
/// `sha256sum` (GNU coreutils: 64 hexadecimal digits, a blank, a blank or '*', the name). "./" in
/// front of a name is dropped.
/// source: named in errors. Throws Error{Malformed} V1, with the line.
std::map<std::string, std::string> parse_input_hashes(std::string_view text,
                                                      const std::string& source);

/// Refuses a model folder in which a file that decides what is computed is not the one that
/// `manifest` lists by its name in the folder; other files are not looked at. Returns the SHA-256
/// of the list. Throws Error{Malformed} I-HASH that names every such file, Error{Missing} for a
/// manifest that is not there. Cost: reads the whole model once.
std::string check_input_hashes(const std::filesystem::path& model,
                               const std::filesystem::path& manifest, int num_threads,
                               const Progress& progress);

}  // namespace edgecompress
