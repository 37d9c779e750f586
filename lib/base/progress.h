#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace edgecompress {

/// One step of long work done. Modules report; only the command line prints.
struct ProgressEvent {
  std::string stage;       ///< for example "quantize"
  std::int64_t done = 0;   ///< units finished, 0..total
  std::int64_t total = 0;  ///< > 0
  std::string note = {};   ///< what else is worth seeing, for example "loss 2.31"
};

/// One call at a time, from the thread that runs the work or one that helps it. May throw to stop
/// the work.
using Progress = std::function<void(const ProgressEvent&)>;

}  // namespace edgecompress
