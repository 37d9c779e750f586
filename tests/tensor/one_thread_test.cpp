#include "tensor/one_thread.h"

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

// at::parallel_for is a loop on one thread in a source that is compiled without OpenMP.
TEST_CASE("LibTorch's loops use the threads that they are given", "[tensor]") {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::set<std::thread::id> threads;
  std::mutex mutex;
  at::parallel_for(0, 2, 1, [&](std::int64_t, std::int64_t) {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  CHECK(threads.size() == 2);
  at::set_num_threads(before);
}

TEST_CASE("what runs beside each other multiplies on one thread", "[tensor]") {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::atomic<int> parallel{0};
  for_each_on_one_thread(8, [&](std::int64_t) { parallel += at::in_parallel_region() ? 1 : 0; });
  CHECK(parallel == 8);
  at::set_num_threads(before);
}

}  // namespace
}  // namespace edgecompress
