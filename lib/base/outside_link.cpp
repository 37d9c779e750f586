#include "base/outside_link.h"

#include <algorithm>
#include <system_error>

#include "base/error.h"

namespace edgecompress {

void refuse_outside_link(const std::filesystem::path& folder, const std::filesystem::path& file) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_symlink(file, ignored)) return;
  const fs::path home = fs::weakly_canonical(folder, ignored);
  const fs::path target = fs::weakly_canonical(file, ignored);
  const auto [end, in_target] =
      std::mismatch(home.begin(), home.end(), target.begin(), target.end());
  const bool inside = end == home.end() && in_target != target.end();
  const bool in_cache = home.parent_path().filename() == "snapshots" &&
                        target.parent_path() == home.parent_path().parent_path() / "blobs";
  if (inside || in_cache) return;
  const std::string where = target.empty()
                                ? "that leads nowhere"
                                : concat("to ", target.string(), ", outside the model folder");
  throw Error(
      ErrorKind::Malformed, "I7",
      concat(file.string(), " is a symbolic link ", where, "; copy the file into the folder"));
}

}  // namespace edgecompress
