#include "base/parallel.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("every index is visited once, in pieces of at most the grain", "[base][property]") {
  const int threads = GENERATE(1, 2, 5);
  const std::int64_t count = GENERATE(0, 1, 7, 64, 1001);
  std::vector<int> visits(static_cast<std::size_t>(count), 0);
  std::atomic<int> too_long{0};
  parallel_for(count, 16, threads, [&](std::int64_t begin, std::int64_t end) {
    if (end - begin > 16 || begin >= end) ++too_long;
    for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
  });
  CHECK(too_long == 0);
  CHECK(visits == std::vector<int>(static_cast<std::size_t>(count), 1));
}

TEST_CASE("the exception of a piece reaches the caller", "[base]") {
  const int threads = GENERATE(1, 3);
  CHECK_THROWS_AS(parallel_for(100, 10, threads,
                               [](std::int64_t begin, std::int64_t) {
                                 if (begin == 50) throw std::out_of_range("fifty");
                               }),
                  std::out_of_range);
}

TEST_CASE("there is at least one thread", "[base]") { CHECK(available_threads() >= 1); }

}  // namespace
}  // namespace edgecompress
