#pragma once

#include <chrono>
#include <string>

#include "report/report.h"

namespace edgecompress {

/// Measures what differs between two equal runs: times, host, memory.
class RunClock {
 public:
  RunClock();

  /// Ends the stage that ran since the last call (or construction) and names it.
  void finish_stage(const std::string& name);

  /// Everything measured so far; speeds are left for the caller.
  RunEnvironment environment(int num_threads) const;

 private:
  std::string started_at_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point stage_start_;
  std::map<std::string, double> stage_seconds_;
};

}  // namespace edgecompress
