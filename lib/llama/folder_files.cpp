#include "llama/folder_files.h"

#include <algorithm>

#include "base/error.h"

namespace edgecompress {

namespace fs = std::filesystem;

std::vector<std::string> computed_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool decides = name == "config.json" || name == "tokenizer.json" ||
                         name == "model.safetensors.index.json" || name.ends_with(".safetensors");
    if (decides) names.push_back(name);
  }
  if (error) {
    throw Error(ErrorKind::Missing, "F-OPEN",
                concat("cannot read the folder ", folder.string(), ": ", error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace edgecompress
