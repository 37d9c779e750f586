#include "pipeline/run_environment.h"

#include <fstream>

#include <sys/resource.h>

#include "base/utc_time.h"
#include "tensor/runtime.h"

namespace edgecompress {
namespace {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

double seconds_between(std::chrono::steady_clock::time_point start,
                       std::chrono::steady_clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

}  // namespace

RunClock::RunClock()
    : started_at_(utc_now()), start_(std::chrono::steady_clock::now()), stage_start_(start_) {}

void RunClock::finish_stage(const std::string& name) {
  const auto now = std::chrono::steady_clock::now();
  stage_seconds_[name] += seconds_between(stage_start_, now);
  stage_start_ = now;
}

RunEnvironment RunClock::environment(int num_threads) const {
  RunEnvironment environment;
  environment.started_at = started_at_;
  environment.wall_seconds = seconds_between(start_, std::chrono::steady_clock::now());
  environment.stage_seconds = stage_seconds_;
  struct rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  environment.peak_rss_bytes = usage.ru_maxrss * 1024;  // Linux counts in KiB
  environment.cpu = cpu_name();
  environment.instruction_set = instruction_set();
  environment.num_threads = num_threads;
  return environment;
}

}  // namespace edgecompress
