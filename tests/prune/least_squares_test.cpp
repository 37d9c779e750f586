#include "prune/least_squares.h"

#include <vector>

#include <ATen/Parallel.h>

#include "compensated_layer.h"
#include "prune/keep_mask.h"
#include "stats/hessian.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 23;
constexpr std::int64_t kColumns = 150;
constexpr double kDamping = 0.01;

at::Tensor half_mask(const CompensatedLayer& layer) {
  return keep_mask(layer.weight, {}, MagnitudeMask{}, PerRow{0.5});
}

at::Tensor solve(const CompensatedLayer& layer, const at::Tensor& keep) {
  const auto weight = least_squares_on_support(layer.weight, layer.hessian, keep, kDamping);
  REQUIRE(weight.has_value());
  return *weight;
}

at::Tensor gradient(const CompensatedLayer& layer, const at::Tensor& weight) {
  return at::mm((weight - layer.weight).to(at::kDouble), damp(layer.hessian, kDamping).matrix);
}

TEST_CASE("least squares leave no gradient on the support and zeros off it",
          "[least_squares][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const at::Tensor keep = half_mask(layer);
  const at::Tensor weight = solve(layer, keep);
  CHECK(at::equal(weight != 0, keep));
  const at::Tensor before = gradient(layer, layer.weight * keep).abs();
  const at::Tensor after = gradient(layer, weight).abs();
  // Weights are rounded to float; a gradient entry sums 150 of them.
  CHECK((after * keep).max().item<double>() < 1e-5 * before.max().item<double>());
  CHECK((after * ~keep).max().item<double>() > 1e-2 * before.max().item<double>());
}

TEST_CASE("a whole support leaves the weight, an empty one nothing", "[least_squares]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  at::Tensor keep = at::ones(layer.weight.sizes(), at::kBool);
  keep[4].fill_(false);
  const at::Tensor weight = solve(layer, keep);
  CHECK(at::allclose(weight, layer.weight * keep, 1e-6, 1e-7));
  CHECK(at::count_nonzero(weight[4]).item<std::int64_t>() == 0);
}

TEST_CASE("rows of one support are solved as each alone", "[least_squares][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  at::Tensor keep = half_mask(layer);
  keep[7].copy_(keep[2]);
  keep[19].copy_(keep[2]);
  const at::Tensor together = solve(layer, keep);
  for (const std::int64_t row : {2, 7, 19}) {
    const CompensatedLayer alone{layer.weight.narrow(0, row, 1).contiguous(), layer.hessian};
    const at::Tensor weight = solve(alone, keep.narrow(0, row, 1).contiguous());
    CHECK(at::equal(weight[0], together[row]));
  }
}

TEST_CASE("columns kept in every row get the same solution", "[least_squares][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < kColumns; ++i) {
    if (i % 3 != 1) kept.push_back(i);
  }
  const at::Tensor columns = at::tensor(kept, at::kLong);
  at::Tensor keep = at::zeros(layer.weight.sizes(), at::kBool);
  keep.index_fill_(1, columns, 1);
  const auto weight = least_squares_columns(layer.weight, layer.hessian, kept, kDamping);
  REQUIRE(weight.has_value());
  CHECK(at::allclose(*weight, solve(layer, keep).index_select(1, columns), 1e-5, 1e-6));
}

TEST_CASE("a weight solved for outputs of another weight becomes that one", "[least_squares]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const at::Tensor other = at::randn({kRows, kColumns});
  const auto outputs = [&](const at::Tensor& weight) {
    return at::mm(weight.to(at::kDouble), layer.hessian);  // E[(weight x) x^T]
  };
  const auto same =
      least_squares_for_outputs(layer.weight, layer.hessian, outputs(layer.weight), kDamping);
  REQUIRE(same.has_value());
  CHECK(at::allclose(*same, layer.weight, 1e-5, 1e-6));
  const auto found = least_squares_for_outputs(layer.weight, layer.hessian, outputs(other), 1e-9);
  REQUIRE(found.has_value());
  CHECK(at::allclose(*found, other, 1e-2, 1e-2));  // up to damping in the weakest directions
  const auto damped =
      least_squares_for_outputs(layer.weight, layer.hessian, outputs(other), kDamping);
  // (H + d) stationary: (W' - other) H + d (W' - W) = 0, d what the damping adds.
  const double added = damp(layer.hessian, kDamping).added;
  const at::Tensor gradient = outputs(*damped - other) + added * (*damped - layer.weight);
  CHECK(gradient.abs().max().item<double>() < 1e-4 * outputs(other).abs().max().item<double>());
}

TEST_CASE("an indefinite Hessian is told, not solved", "[least_squares]") {
  CompensatedLayer layer = make_compensated_layer(3, 10);
  layer.hessian[4][4] = -1.0;
  const at::Tensor keep = at::ones({3, 10}, at::kBool);
  CHECK(!least_squares_on_support(layer.weight, layer.hessian, keep, kDamping).has_value());
  CHECK(
      !least_squares_columns(layer.weight, layer.hessian, natural_order(10), kDamping).has_value());
}

TEST_CASE("least squares give the same bytes for any number of threads",
          "[least_squares][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const at::Tensor keep = half_mask(layer);
  const std::vector<std::int64_t> kept = natural_order(100);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = solve(layer, keep);
  const auto one_columns = least_squares_columns(layer.weight, layer.hessian, kept, kDamping);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    CHECK(at::equal(one, solve(layer, keep)));
    CHECK(at::equal(*one_columns,
                    *least_squares_columns(layer.weight, layer.hessian, kept, kDamping)));
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace edgecompress
