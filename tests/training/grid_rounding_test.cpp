#include "training/grid_rounding.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 37;
constexpr std::int64_t kColumns = 50;  // groups of 20: the last is half empty
constexpr std::int64_t kGroups = 3;
constexpr std::int64_t kLength = 20;

at::Tensor leaf(const at::Tensor& value) { return value.clone().requires_grad_(); }

StartingGrid some_grid(Symmetry symmetry) {
  at::manual_seed(3);
  const bool symmetric = symmetry == Symmetry::Symmetric;
  return {.columns = kColumns,
          .scheme = {.bits = 4, .group_size = kLength, .symmetry = symmetry},
          .scales = at::rand({kRows, kGroups, 1}) + 0.1,
          .zero_points = symmetric ? at::zeros({kRows, kGroups, 1})
                                   : at::randint(-8, 8, {kRows, kGroups, 1}).to(at::kFloat),
          .keep = {}};
}

/// Weights of which some lie beyond the grid, and zero points of which some do.
GridParameters some_parameters(const StartingGrid& start) {
  at::Tensor weight = at::randn({kRows, kGroups, kLength}) * 7;
  if (start.keep.defined()) weight = weight * start.keep;
  GridParameters parameters{.weight = leaf(weight),
                            .factors = leaf(at::rand({kRows, kGroups, 1}) + 0.5),
                            .zero_shift = {}};
  if (start.scheme.symmetry == Symmetry::Asymmetric) {
    parameters.zero_shift = leaf(at::randn({kRows, kGroups, 1}) * 0.5);
  }
  return parameters;
}

std::vector<at::Tensor> gradients(const GridParameters& parameters, const at::Tensor& output) {
  at::manual_seed(5);
  output.backward(at::randn({kRows, kColumns}));
  std::vector<at::Tensor> found{parameters.weight.grad(), parameters.factors.grad()};
  if (parameters.zero_shift.defined()) found.push_back(parameters.zero_shift.grad());
  return found;
}

/// By LibTorch's operations, each with its own gradient.
at::Tensor by_operations(const StartingGrid& start, const GridParameters& parameters) {
  const TrainedGrid grid = round_to_grid(start, parameters);
  return (grid.codes * grid.scales).reshape({kRows, -1}).narrow(1, 0, kColumns);
}

GridParameters copied(const GridParameters& parameters) {
  GridParameters copy{leaf(parameters.weight.detach()), leaf(parameters.factors.detach()), {}};
  if (parameters.zero_shift.defined()) copy.zero_shift = leaf(parameters.zero_shift.detach());
  return copy;
}

TEST_CASE("rounding in one pass has the values and gradients of the operations it is made of",
          "[training]") {
  const auto symmetry = GENERATE(Symmetry::Symmetric, Symmetry::Asymmetric);
  StartingGrid start = some_grid(symmetry);
  const bool masked = GENERATE(false, true);
  if (masked) start.keep = at::rand({kRows, kGroups, kLength}).gt(0.3);
  const GridParameters parameters = some_parameters(start);
  const GridParameters others = copied(parameters);

  const at::Tensor found = rounded_weight(start, parameters);
  const at::Tensor expected = by_operations(start, others);
  CHECK(at::equal(found, expected));
  const std::vector<at::Tensor> of_found = gradients(parameters, found);
  const std::vector<at::Tensor> of_expected = gradients(others, expected);
  REQUIRE(of_found.size() == of_expected.size());
  for (std::size_t i = 0; i < of_found.size(); ++i) {
    CAPTURE(i);
    CHECK(of_expected[i].abs().sum().item<double>() > 0);
    // sums over a group in another order and precision
    CHECK(at::allclose(of_found[i], of_expected[i], 1e-5, 1e-4));
  }
  const at::NoGradGuard no_grad;
  CHECK(at::equal(rounded_weight(start, parameters), expected));
}

TEST_CASE("rounding in one pass is the same for any number of threads", "[training]") {
  const StartingGrid start = some_grid(Symmetry::Asymmetric);
  const GridParameters parameters = some_parameters(start);
  const GridParameters others = copied(parameters);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = rounded_weight(start, parameters);
  const std::vector<at::Tensor> of_one = gradients(parameters, one);
  at::set_num_threads(3);
  const at::Tensor three = rounded_weight(start, others);
  const std::vector<at::Tensor> of_three = gradients(others, three);
  at::set_num_threads(threads);
  CHECK(at::equal(one, three));
  for (std::size_t i = 0; i < of_one.size(); ++i) CHECK(at::equal(of_one[i], of_three[i]));
}

}  // namespace
}  // namespace edgecompress
