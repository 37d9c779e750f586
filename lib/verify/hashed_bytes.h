#pragma once

#include <cstdint>
#include <mutex>

#include "base/progress.h"

namespace edgecompress {

/// What has been hashed of all files, by several threads.
class HashedBytes {
 public:
  HashedBytes(std::uint64_t total, const Progress& progress)
      : total_mib_(mib_of(total)), progress_(progress) {}

  void add(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    progress_({.stage = "hash MiB", .done = mib_of(done_), .total = total_mib_});
  }

 private:
  static std::int64_t mib_of(std::uint64_t bytes) {
    return static_cast<std::int64_t>((bytes + (std::uint64_t{1} << 20) - 1) >> 20);
  }

  const std::int64_t total_mib_;
  const Progress& progress_;
  std::mutex mutex_;
  std::uint64_t done_ = 0;
};

}  // namespace edgecompress
