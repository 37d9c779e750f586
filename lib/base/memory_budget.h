#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace edgecompress {

/// Bytes that this process may have at most: the machine's memory, the limits of its cgroup and of
/// all above it (version 2: memory.max; version 1: memory.limit_in_bytes), and RLIMIT_AS, whichever
/// is least.
/// root: "/", or a folder that looks like it.
std::uint64_t memory_limit(const std::filesystem::path& root = "/");

/// "8GiB", "512MiB", or "75%" of memory_limit().
/// Throws Error{Usage} U-MEMORY for anything else, for 0, and for more than 100%.
std::uint64_t parse_memory_size(const std::string& text);

/// 80% of memory_limit(): the rest is for the page cache and for others.
std::uint64_t default_memory_budget();

/// "1.5 GiB", rounded up to a tenth, so that the number that is shown is enough.
std::string memory_text(std::uint64_t bytes);

}  // namespace edgecompress
