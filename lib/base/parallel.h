#pragma once

#include <cstdint>
#include <functional>

namespace edgecompress {

/// Runs body(begin, end) over [0, count) in pieces of `grain`, on up to num_threads threads. Which
/// thread takes a piece differs between runs, so a body writes only what belongs to its own piece:
/// results are then the same for any number of threads. The first exception of a body is rethrown
/// after all threads have stopped.
void parallel_for(std::int64_t count, std::int64_t grain, int num_threads,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body);

/// Threads this process may use: its affinity mask, bounded by a cgroup CPU limit.
int available_threads();

}  // namespace edgecompress
