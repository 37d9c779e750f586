#include "base/memory_budget.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>

#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory_bounds.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

/// A file with one number; "max" and what is no file at all limit nothing, and neither does version
/// 1's largest number, 2^63 less a page.
std::uint64_t limit_in(const fs::path& file) {
  constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;
  std::ifstream in(file);
  std::uint64_t bytes = 0;
  return in >> bytes && bytes < kNoLimit ? bytes : kUnlimited;
}

std::uint64_t least_on_the_way_up(const fs::path& mount, const fs::path& group, const char* file) {
  std::uint64_t least = limit_in(mount / file);
  fs::path part = group.relative_path();
  while (!part.empty()) {
    least = std::min(least, limit_in(mount / part / file));
    part = part.parent_path();
  }
  return least;
}

/// Lines of /proc/self/cgroup: "0::/a/b" (version 2), "9:memory:/a/b" (version 1).
std::uint64_t cgroup_limit(const fs::path& root) {
  std::uint64_t least = limit_in(root / "sys/fs/cgroup/memory.max");
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t last = line.rfind(':');
    if (last == std::string::npos) continue;
    const fs::path group = line.substr(last + 1);
    if (line.starts_with("0::")) {
      least = std::min(least, least_on_the_way_up(root / "sys/fs/cgroup", group, "memory.max"));
    } else if (line.find(":memory:") != std::string::npos) {
      least = std::min(least, least_on_the_way_up(root / "sys/fs/cgroup/memory", group,
                                                  "memory.limit_in_bytes"));
    }
  }
  return least;
}

std::uint64_t machine_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return kUnlimited;
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
}

std::uint64_t address_space() {
  struct rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  return limit.rlim_cur;
}

std::optional<double> factor_of(const std::string& unit) {
  if (unit == "MiB") return double{1 << 20};
  if (unit == "GiB") return double{1 << 30};
  if (unit == "%") return static_cast<double>(memory_limit()) / 100;
  return std::nullopt;
}

}  // namespace

MemoryBounds memory_bounds(const fs::path& root) {
  const auto bound = [](std::uint64_t bytes) {
    return bytes == kUnlimited ? std::nullopt : std::optional(bytes);
  };
  return {.machine = bound(machine_memory()),
          .cgroup = bound(cgroup_limit(root)),
          .address_space = bound(address_space())};
}

std::uint64_t memory_limit(const fs::path& root) {
  return std::min({machine_memory(), cgroup_limit(root), address_space()});
}

std::uint64_t parse_memory_size(const std::string& text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  const std::string unit(error == std::errc() ? stopped : end, end);
  const std::optional<double> factor = factor_of(unit);
  const bool possible = factor && number > 0 && number <= (unit == "%" ? 100 : 1e9);
  if (!possible) {
    throw Error(ErrorKind::Usage, "U-MEMORY",
                concat("--max-memory: expected a size such as 8GiB or 512MiB, or a share such as "
                       "75%, found \"",
                       text, "\""));
  }
  return static_cast<std::uint64_t>(number * *factor);
}

std::uint64_t default_memory_budget() { return memory_limit() / 5 * 4; }

std::string memory_text(std::uint64_t bytes) {
  const std::uint64_t tenths = (bytes * 10 + (std::uint64_t{1} << 30) - 1) >> 30;
  return concat(tenths / 10, ".", tenths % 10, " GiB");
}

}  // namespace edgecompress
