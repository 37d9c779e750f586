#include "prune/obs_columns.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>

#include "compensated_layer.h"
#include "prune/least_squares.h"
#include "stats/hessian.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 31;
constexpr std::int64_t kColumns = 144;
constexpr double kDamping = 0.01;

KeptColumns remove(const CompensatedLayer& layer, std::int64_t width, std::int64_t count) {
  auto kept = remove_columns_obs(layer.weight, layer.hessian, width, {.count = count}, kDamping);
  REQUIRE(kept.has_value());
  return *std::move(kept);
}

std::vector<std::int64_t> columns_of(const std::vector<std::int64_t>& groups, std::int64_t width) {
  std::vector<std::int64_t> columns;
  for (const std::int64_t group : groups) {
    for (std::int64_t i = 0; i < width; ++i) columns.push_back(group * width + i);
  }
  return columns;
}

TEST_CASE("what stays is the least squares solution, and the losses add up to its error",
          "[obs][property]") {
  const auto width = GENERATE(1, 6, 16);
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const std::int64_t removed = kColumns / width / 3;
  const KeptColumns kept = remove(layer, width, removed);
  REQUIRE(static_cast<std::int64_t>(kept.groups.size()) == kColumns / width - removed);
  const std::vector<std::int64_t> columns = columns_of(kept.groups, width);
  const auto solved = least_squares_columns(layer.weight, layer.hessian, columns, kDamping);
  REQUIRE(solved.has_value());
  CHECK(at::allclose(kept.weight, *solved, 1e-4, 1e-5));
  at::Tensor whole = at::zeros({kRows, kColumns});
  whole.index_copy_(1, at::tensor(columns, at::kLong), kept.weight);
  const at::Tensor damped = damp(layer.hessian, kDamping).matrix;
  CHECK(kept.output_error ==
        Approx(output_energy(whole - layer.weight, relative_hessian(damped))).epsilon(1e-5));
}

TEST_CASE("as many groups of every set go, the best of each", "[obs][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  constexpr std::int64_t kWidth = 6;  // 24 groups in sets of 4
  const auto kept =
      remove_columns_obs(layer.weight, layer.hessian, kWidth, {.count = 1, .set = 4}, kDamping);
  REQUIRE(kept.has_value());
  std::vector<int> left(6);
  for (const std::int64_t group : kept->groups) ++left[static_cast<std::size_t>(group / 4)];
  CHECK(left == std::vector<int>(6, 3));
  // The first one to go of all goes with sets too.
  const KeptColumns free = remove(layer, kWidth, 1);
  std::vector<std::int64_t> gone;
  for (std::int64_t group = 0; group < 24; ++group) {
    if (!std::binary_search(free.groups.begin(), free.groups.end(), group)) gone.push_back(group);
  }
  CHECK_FALSE(std::binary_search(kept->groups.begin(), kept->groups.end(), gone.at(0)));
}

TEST_CASE("the first group to go is the one that costs least when solved for", "[obs][property]") {
  const auto width = GENERATE(1, 12);
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const at::Tensor damped = damp(layer.hessian, kDamping).matrix;
  std::int64_t best = -1;
  double least = 0;
  for (std::int64_t group = 0; group < kColumns / width; ++group) {
    std::vector<std::int64_t> others = natural_order(kColumns / width);
    others.erase(others.begin() + group);
    const std::vector<std::int64_t> columns = columns_of(others, width);
    at::Tensor whole = at::zeros({kRows, kColumns});
    whole.index_copy_(1, at::tensor(columns, at::kLong),
                      *least_squares_columns(layer.weight, layer.hessian, columns, kDamping));
    const double loss = output_energy(whole - layer.weight, relative_hessian(damped));
    if (best >= 0 && loss >= least) continue;
    best = group;
    least = loss;
  }
  const KeptColumns kept = remove(layer, width, 1);
  CHECK(!std::binary_search(kept.groups.begin(), kept.groups.end(), best));
  CHECK(kept.output_error == Approx(least).epsilon(1e-5));
}

TEST_CASE("nothing removed leaves the weight", "[obs]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const KeptColumns kept = remove(layer, 12, 0);
  CHECK(at::equal(kept.weight, layer.weight));
  CHECK(kept.output_error == 0);
}

TEST_CASE("inputs that were always zero go first", "[obs]") {
  CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  for (const std::int64_t dead : {5, 90}) {
    layer.hessian.select(0, dead).zero_();
    layer.hessian.select(1, dead).zero_();
  }
  const KeptColumns kept = remove(layer, 1, 2);
  std::vector<std::int64_t> expected = natural_order(kColumns);
  expected.erase(expected.begin() + 90);
  expected.erase(expected.begin() + 5);
  CHECK(kept.groups == expected);
  const KeptColumns both = remove(layer, 12, 2);
  for (std::size_t i = 0; i < both.groups.size(); ++i) {
    if (both.groups[i] != 90 / 12) continue;
    const auto at = static_cast<std::int64_t>(i) * 12 + 90 % 12;
    CHECK(at::equal(both.weight.select(1, at), layer.weight.select(1, 90)));
  }
}

TEST_CASE("greedy removal gives the same bytes for any number of threads", "[obs][property]") {
  const auto width = GENERATE(1, 12);
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const KeptColumns one = remove(layer, width, 5);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    const KeptColumns other = remove(layer, width, 5);
    CHECK(one.groups == other.groups);
    CHECK(at::equal(one.weight, other.weight));
    CHECK(one.output_error == other.output_error);
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace edgecompress
