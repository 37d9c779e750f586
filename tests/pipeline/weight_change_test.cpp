#include "pipeline/weight_change.h"

#include <vector>

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

TEST_CASE("the relative error is of energies", "[pipeline]") {
  const at::Tensor a = at::tensor({3.0F, 4.0F});
  CHECK(change_between(a, at::tensor({3.0F, 0.0F}), 1).relative_error() == 16.0 / 25.0);
  CHECK(change_between(a, a, 1).relative_error() == 0);
  CHECK(change_between(at::zeros({2}), at::zeros({2}), 1).relative_error() == 0);
  CHECK(change_between(at::zeros({2}), a, 1).relative_error() == 1);
}

TEST_CASE("every weight of a large matrix counts once, for any number of threads", "[pipeline]") {
  // Integers, so that sums in double are exact in any order.
  constexpr std::size_t kSize = (std::size_t{3} << 16) + 13;
  std::vector<float> before(kSize);
  std::vector<float> stored(kSize);
  double energy = 0;
  double moved = 0;
  std::int64_t zeros = 0;
  for (std::size_t i = 0; i < kSize; ++i) {
    before[i] = static_cast<float>(i % 1013) - 500.0F;
    stored[i] = i % 7 == 3 ? 0.0F : before[i] + static_cast<float>(i % 5);
    const double difference = before[i] - stored[i];
    energy += static_cast<double>(before[i]) * before[i];
    moved += difference * difference;
    if (stored[i] == 0.0F) ++zeros;
  }
  for (const int threads : {1, 3}) {
    const WeightChange change = change_between(before, stored, threads);
    CHECK(change.energy == energy);
    CHECK(change.moved == moved);
    CHECK(change.zeros == zeros);
    CHECK(change.count == static_cast<std::int64_t>(kSize));
    CHECK(count_zeros(at::from_blob(stored.data(), {static_cast<std::int64_t>(kSize)}, at::kFloat),
                      threads) == zeros);
  }
}

TEST_CASE("changes of parts add up to the change of the whole", "[pipeline]") {
  WeightChange sum = change_between(at::tensor({1.0F, 2.0F}), at::tensor({1.0F, 0.0F}), 1);
  sum += change_between(at::tensor({4.0F}), at::tensor({3.0F}), 1);
  CHECK(sum.relative_error() == 5.0 / 21.0);
  CHECK(sum.sparsity() == 1.0 / 3.0);
}

}  // namespace
}  // namespace edgecompress
