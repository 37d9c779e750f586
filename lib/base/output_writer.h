#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace edgecompress {

/// A run that is writing an output now.
struct OutputWriter {
  std::int64_t pid = 0;  ///< of its process on `host`; 0 when its lock does not say
  std::string host;
};

/// The run that holds the lock of an output, "<target>.lock"; nothing when none does.
std::optional<OutputWriter> writer_of(const std::filesystem::path& target);

/// True when the last run that wrote the output left its lock behind: it was killed, or its machine
/// stopped. Every other end deletes it.
bool was_killed(const std::filesystem::path& target);

}  // namespace edgecompress
