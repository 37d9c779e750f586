#include "base/kill_point.h"

#ifdef EDGECOMPRESS_KILL_POINTS

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string>

namespace edgecompress {
namespace {

struct Target {
  std::string name;
  int passing = 1;
};

Target read_target() {
  const char* const text = std::getenv("EDGECOMPRESS_KILL_AT");
  Target target{.name = text == nullptr ? "" : text};
  const std::size_t colon = target.name.find(':');
  if (colon == std::string::npos) return target;
  const char* const end = target.name.data() + target.name.size();
  std::from_chars(target.name.data() + colon + 1, end, target.passing);
  target.name.resize(colon);
  return target;
}

}  // namespace

void kill_point(const char* name) {
  static const Target target = read_target();
  static std::atomic<int> passed{0};
  if (target.name.empty() || (target.name != "*" && target.name != name)) return;
  if (++passed == target.passing) std::raise(SIGKILL);
}

}  // namespace edgecompress

#else

namespace edgecompress {
void kill_point(const char*) {}
}  // namespace edgecompress

#endif
