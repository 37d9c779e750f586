#pragma once

#include <atomic>
#include <cstdint>

#include <ATen/Parallel.h>

namespace edgecompress {

/// Runs body(i) for i in [0, count), beside each other, so that every product in it is computed by
/// one thread: its bytes then do not rest on how MKL shares a product among several. They start in
/// order, so the longest should come first.
template <typename Body>
void for_each_on_one_thread(std::int64_t count, const Body& body) {
  const int num_threads = at::get_num_threads();
  if (count > 1 && num_threads > 1) {
    std::atomic<std::int64_t> next{0};  // a thread takes what no other has taken
    at::parallel_for(0, num_threads, 1, [&](std::int64_t, std::int64_t) {
      for (std::int64_t i = next++; i < count; i = next++) body(i);
    });
    return;
  }
  at::set_num_threads(1);
  for (std::int64_t i = 0; i < count; ++i) body(i);
  at::set_num_threads(num_threads);
}

}  // namespace edgecompress
