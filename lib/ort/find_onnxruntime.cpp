#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "ort/session.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// The libonnxruntime.so* of a folder whose name sorts last, so a plain name loses to a versioned
/// one it may link to.
fs::path library_in(const fs::path& folder) {
  fs::path best;
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end;
       entry.increment(ignored)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("libonnxruntime.so") && is_file(entry->path())) {
      best = std::max(best, entry->path());
    }
  }
  return best;
}

/// The folder of the running program, ../lib and ../libexec/edgecompress of it; none without /proc.
std::vector<fs::path> program_folders() {
  std::error_code no_proc;
  const fs::path program = fs::read_symlink("/proc/self/exe", no_proc);
  if (no_proc) return {};
  const fs::path beside = program.parent_path();
  const fs::path prefix = beside.parent_path();
  return {beside, prefix / "lib", prefix / "libexec/edgecompress"};
}

[[noreturn]] void not_found(const std::string& tried) {
  throw Error(
      ErrorKind::Missing, "O01",
      "ONNX Runtime's library (libonnxruntime.so, 1.17 or newer) was not found; tried:" + tried +
          "\nname it with --onnxruntime or in EDGECOMPRESS_ONNXRUNTIME; "
          "the wheel of `pip install onnxruntime` holds one in onnxruntime/capi");
}

}  // namespace

fs::path find_onnxruntime(const fs::path& named) {
  if (!named.empty()) {
    if (!is_file(named)) not_found(concat("\n  ", named, " as named"));
    return named;
  }
  if (const char* wish = std::getenv("EDGECOMPRESS_ONNXRUNTIME"); wish != nullptr && *wish != 0) {
    if (!is_file(wish)) not_found(concat("\n  ", fs::path(wish), " of EDGECOMPRESS_ONNXRUNTIME"));
    return wish;
  }
  std::string tried = "\n  EDGECOMPRESS_ONNXRUNTIME, which is not set";
  for (const fs::path& folder : program_folders()) {
    const fs::path found = library_in(folder);
    if (!found.empty()) return found;
    tried += concat("\n  libonnxruntime.so* in ", folder);
  }
  const fs::path configured = EDGECOMPRESS_ONNXRUNTIME_DEFAULT;
  if (is_file(configured)) return configured;
  if (!configured.empty()) tried += concat("\n  ", configured, " as configured");
  not_found(tried);
}

fs::path find_operator_library() {
  std::vector<fs::path> places;
  if (const char* wish = std::getenv("EDGECOMPRESS_OPERATORS"); wish != nullptr && *wish != 0) {
    places = {wish};
  } else {
    for (const fs::path& folder : program_folders()) {
      places.push_back(folder / "libedgecompress_ops.so");
    }
  }
  std::string tried;
  for (const fs::path& place : places) {
    if (is_file(place)) return place;
    tried += concat("\n  ", place);
  }
  throw Error(ErrorKind::Missing, "O08",
              concat("edgecompress's operators for ONNX Runtime were not found; tried:", tried,
                     "\nname the file in EDGECOMPRESS_OPERATORS"));
}

}  // namespace edgecompress
