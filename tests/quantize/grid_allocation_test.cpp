#include "quantize/grid_allocation.h"

#include <limits>
#include <numeric>
#include <random>

#include "support/catch.h"

namespace edgecompress {
namespace {

using Items = std::vector<std::vector<StorageOption>>;

struct Sum {
  std::int64_t bytes = 0;
  double error = 0;
};

Sum sum_of(const Items& items, const std::vector<std::size_t>& choice) {
  Sum sum;
  for (std::size_t i = 0; i < items.size(); ++i) {
    sum.bytes += items[i][choice[i]].bytes;
    sum.error += items[i][choice[i]].error;
  }
  return sum;
}

/// The least error of all choices that fit, by trying every one.
double least_error(const Items& items, std::int64_t budget) {
  double least = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> choice(items.size(), 0);
  while (true) {
    const Sum sum = sum_of(items, choice);
    if (sum.bytes <= budget) least = std::min(least, sum.error);
    std::size_t i = 0;
    while (i < items.size() && ++choice[i] == items[i].size()) choice[i++] = 0;
    if (i == items.size()) return least;
  }
}

/// unit: what all sizes are multiples of.
Items random_items(std::mt19937& random, std::int64_t unit) {
  std::uniform_int_distribution<std::int64_t> size(1, 40);
  std::uniform_real_distribution<double> error(0, 1);
  Items items(6);
  for (std::vector<StorageOption>& options : items) {
    for (int i = 0; i < 4; ++i) options.push_back({unit * size(random), error(random)});
  }
  return items;
}

TEST_CASE("no choice that fits has a smaller error", "[quantize][property]") {
  const int seed = GENERATE(range(0, 8));
  std::mt19937 random(static_cast<unsigned>(seed));
  for (const std::int64_t unit : {1, 3, 4608}) {
    const Items items = random_items(random, unit);
    for (const std::int64_t budget : {60 * unit, 90 * unit + 1, 140 * unit, 1000 * unit}) {
      CAPTURE(seed, unit, budget);
      const double least = least_error(items, budget);
      const auto choice = allocate_grids(items, budget);
      REQUIRE(choice.has_value() == (least < 1e9));
      if (!choice) continue;
      const Sum found = sum_of(items, *choice);
      CHECK(found.bytes <= budget);
      CHECK(found.error == Approx(least));
    }
  }
}

TEST_CASE("sizes without a common divisor keep the budget and waste little of it", "[quantize]") {
  // Errors fall with bytes, so the best choice uses what it may.
  Items items(300);
  std::mt19937 random(1);
  std::uniform_int_distribution<std::int64_t> size(1'000'000, 90'000'000);
  std::int64_t least = 0;
  std::int64_t most = 0;
  for (std::vector<StorageOption>& options : items) {
    const std::int64_t bytes = size(random);
    options = {{bytes, 1.0}, {bytes + bytes / 7, 0.5}, {2 * bytes + 1, 0.1}};
    least += bytes;
    most += 2 * bytes + 1;
  }
  const std::int64_t budget = (least + most) / 2;
  const auto choice = allocate_grids(items, budget);
  REQUIRE(choice.has_value());
  const std::int64_t bytes = sum_of(items, *choice).bytes;
  CHECK(bytes <= budget);
  // 300 sizes, each rounded up by less than 1/131072 of the range; and what no option fits into,
  // less than the smallest upgrade.
  CHECK(bytes >= budget - 300 * ((most - least) / 131072 + 1) - 90'000'000 / 7);
}

TEST_CASE("a budget below the smallest options is refused, their own is taken", "[quantize]") {
  const Items items{{{10, 1.0}, {20, 0.5}}, {{7, 2.0}, {9, 0.1}}};
  CHECK_FALSE(allocate_grids(items, 16).has_value());
  CHECK(allocate_grids(items, 17) == std::vector<std::size_t>{0, 0});
  CHECK(allocate_grids(items, 19) == std::vector<std::size_t>{0, 1});
}

TEST_CASE("of equal errors the smaller choice is taken", "[quantize]") {
  const Items items{{{30, 0.5}, {10, 0.5}}, {{5, 1.0}, {8, 1.0}}};
  CHECK(allocate_grids(items, 100) == std::vector<std::size_t>{1, 0});
}

}  // namespace
}  // namespace edgecompress
