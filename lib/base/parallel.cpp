#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <sched.h>

#include "base/error.h"

namespace edgecompress {
namespace {

/// Returns false when no more threads are to be had.
bool start_thread(std::vector<std::jthread>& threads, const std::function<void()>& work) {
  try {
    threads.emplace_back(work);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace

void parallel_for(std::int64_t count, std::int64_t grain, int num_threads,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
  ensure(grain > 0 && num_threads > 0, "a positive grain and thread count");
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_lock;
  const auto work = [&] {
    for (std::int64_t begin = next.fetch_add(grain); begin < count; begin = next.fetch_add(grain)) {
      try {
        body(begin, std::min(begin + grain, count));
      } catch (...) {
        const std::lock_guard lock(failure_lock);
        if (!failure) failure = std::current_exception();
        next.store(count);
      }
    }
  };
  {
    const std::int64_t pieces = (count + grain - 1) / grain;
    std::vector<std::jthread> helpers;
    for (std::int64_t i = 1; i < std::min<std::int64_t>(num_threads, pieces); ++i) {
      if (!start_thread(helpers, work)) break;  // those that there are do the work
    }
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

int available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int threads = ::sched_getaffinity(0, sizeof(set), &set) == 0
                    ? CPU_COUNT(&set)
                    : static_cast<int>(std::thread::hardware_concurrency());
  std::ifstream limit(
      "/sys/fs/cgroup/cpu.max");  // "<quota> <period>" in microseconds, or "max <period>"
  std::string quota;
  double period = 0;
  if (limit >> quota >> period && quota != "max" && period > 0) {
    threads = std::min(threads, static_cast<int>(std::stod(quota) / period + 0.999));
  }
  return std::max(threads, 1);
}

}  // namespace edgecompress
