#include "prune/loss_allocation.h"

#include <limits>
#include <numeric>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

/// A matrix of ones whose rows cost what `outputs` says.
AllocatedMatrix of_rows(std::vector<double> outputs) {
  const auto rows = static_cast<std::int64_t>(outputs.size());
  return {.costs = DropCosts(at::ones({rows, 8}),
                             {.inputs = std::vector<double>(8, 1), .outputs = std::move(outputs)},
                             Unstructured{}),
          .weights = rows * 8};
}

AllocatedMatrix random_matrix(std::int64_t rows, std::int64_t columns,
                              const SparsityPattern& pattern) {
  const auto sensitivity = [](std::int64_t count, double phase) {
    std::vector<double> values;
    for (std::int64_t i = 0; i < count; ++i) {
      values.push_back(std::exp(3 * std::sin(phase * static_cast<double>(i + 1))));
    }
    return values;
  };
  return {.costs = DropCosts(
              at::randn({rows, columns}),
              {.inputs = sensitivity(columns, 0.7), .outputs = sensitivity(rows, 1.9)}, pattern),
          .weights = rows * columns};
}

TEST_CASE("the weights that cost the loss least go, wherever they are", "[prune]") {
  const std::vector<AllocatedMatrix> matrices{of_rows({1, 4}), of_rows({2, 8})};
  struct Case {
    double sparsity;
    std::vector<double> wanted;
  };
  const auto [sparsity, wanted] =
      GENERATE(Case{0.25, {0.5, 0}}, Case{0.5, {0.5, 0.5}}, Case{0.625, {0.75, 0.5}},
               // the cheaper matrix keeps a twentieth, the dearer one makes up for it
               Case{0.75, {kMostDropped, 1.5 - kMostDropped}}, Case{0, {0, 0}}, Case{1, {1, 1}});
  const std::vector<double> shares = sparsities_by_cost(matrices, sparsity);
  REQUIRE(shares.size() == 2);
  CHECK(shares[0] == Approx(wanted[0]).margin(1e-9));
  CHECK(shares[1] == Approx(wanted[1]).margin(1e-9));
}

TEST_CASE("a matrix that a cut made smaller counts for less", "[prune]") {
  std::vector<AllocatedMatrix> matrices{of_rows({1, 4}), of_rows({2, 8})};
  matrices[0].weights = 4;  // of 16: half of it is 2 of the 20 that are left
  const std::vector<double> shares = sparsities_by_cost(matrices, 0.1);
  CHECK(shares[0] == Approx(0.5));
  CHECK(shares[1] == Approx(0).margin(1e-9));
}

TEST_CASE("weights of a tile go together, at the mean of their costs", "[prune]") {
  // Row 0 costs 0, row 1 costs 6; together 3 a weight, more than the 2 of the other matrix.
  const LayerSensitivity rows{.inputs = {1, 1, 1}, .outputs = {0, 6}};
  const LayerSensitivity flat{.inputs = {1, 1, 1}, .outputs = {2, 2}};
  const auto first_share = [&](const SparsityPattern& pattern) {
    return sparsities_by_cost({{.costs = DropCosts(at::ones({2, 3}), rows, pattern), .weights = 6},
                               {.costs = DropCosts(at::ones({2, 3}), flat, pattern), .weights = 6}},
                              0.25)
        .front();
  };
  CHECK(first_share(Unstructured{}) == Approx(0.5));
  CHECK(first_share(PerRow{}) == Approx(0.5));
  CHECK(first_share(Blocks{.rows = 2, .columns = 1}) == Approx(0).margin(1e-9));
  CHECK(first_share(Blocks{.rows = 1, .columns = 2}) == Approx(0.5));
  // The last tile is ragged, and costs no less for it.
  const auto row_of = [](double cost) {
    return AllocatedMatrix{
        .costs = DropCosts(at::ones({1, 3}), {.inputs = {1, 1, 1}, .outputs = {cost}},
                           Blocks{.rows = 1, .columns = 2}),
        .weights = 3};
  };
  CHECK(sparsities_by_cost({row_of(3), row_of(4)}, 0.5).front() == Approx(kMostDropped));
}

TEST_CASE("whatever the matrices are, their sparsities add up to what was asked for",
          "[prune][property]") {
  at::manual_seed(5);
  const SparsityPattern pattern =
      GENERATE(SparsityPattern(Unstructured{}), SparsityPattern(Blocks{.rows = 16, .columns = 1}),
               SparsityPattern(Blocks{.rows = 3, .columns = 5}));
  const auto sparsity = GENERATE(0.05, 0.3, 0.5, 0.9, 0.99);
  const std::vector<AllocatedMatrix> matrices{random_matrix(40, 33, pattern),
                                              random_matrix(16, 128, pattern),
                                              random_matrix(70, 8, pattern)};
  const std::vector<double> shares = sparsities_by_cost(matrices, sparsity);
  double dropped = 0;
  double all = 0;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    CHECK(shares[i] >= 0);
    CHECK(shares[i] <= std::max(kMostDropped, sparsity));
    dropped += shares[i] * static_cast<double>(matrices[i].weights);
    all += static_cast<double>(matrices[i].weights);
  }
  CHECK(dropped / all == Approx(sparsity).epsilon(1e-9));
}

TEST_CASE("costs are counted the same for any number of threads", "[prune]") {
  const int threads = at::get_num_threads();
  const auto counts = [](int num_threads) {
    at::set_num_threads(num_threads);
    at::manual_seed(6);
    return random_matrix(300, 77, Blocks{.rows = 16, .columns = 1}).costs.counts();
  };
  const auto one = counts(1);
  const auto three = counts(3);
  at::set_num_threads(threads);
  CHECK((one == three));
  const auto add = [](std::int64_t sum, const auto& step) { return sum + step.second; };
  CHECK(std::accumulate(one.begin(), one.end(), std::int64_t{0}, add) == 300 * 77);
}

TEST_CASE("a weight that is not finite has no cost", "[prune]") {
  at::Tensor weight = at::ones({2, 3});
  weight[1][2] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(DropCosts(weight, {.inputs = {1, 1, 1}, .outputs = {1, 1}}, Unstructured{}),
                    Catch::Matchers::Contains("rows 1 to 1, columns 2 to 2"));
}

}  // namespace
}  // namespace edgecompress
