#pragma once

#include <cstdint>

#include <ATen/Parallel.h>

namespace edgecompress {

/// Runs body(i) for i in [0, count), beside each other, so that every product in it is computed by
/// one thread: its bytes then do not rest on how MKL shares a product among several.
template <typename Body>
void for_each_on_one_thread(std::int64_t count, const Body& body) {
  if (count > 1) {
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) body(i);
    });
    return;
  }
  const int num_threads = at::get_num_threads();
  at::set_num_threads(1);
  for (std::int64_t i = 0; i < count; ++i) body(i);
  at::set_num_threads(num_threads);
}

}  // namespace edgecompress
