#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace edgecompress {

/// What bounds the memory of this process, in bytes; nothing where there is no bound. The least of
/// them is memory_limit().
struct MemoryBounds {
  std::optional<std::uint64_t> machine;
  std::optional<std::uint64_t> cgroup;         ///< of its cgroup and of all above it
  std::optional<std::uint64_t> address_space;  ///< RLIMIT_AS
};

/// root: "/", or a folder that looks like it.
MemoryBounds memory_bounds(const std::filesystem::path& root = "/");

}  // namespace edgecompress
