#include "stats/damped_hessian.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <vector>

#include <ATen/Parallel.h>

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kColumns = 700;  // several diagonal blocks and two blocks of columns

// Correlated columns of unlike size; fewer tokens than columns make it singular.
at::Tensor make_hessian(std::int64_t columns = kColumns, std::int64_t tokens = 2000) {
  at::manual_seed(12);
  const at::Tensor mix = at::randn({columns, columns}, at::kDouble) * 0.05 +
                         at::eye(columns, at::kDouble) * (at::rand({columns}) + 0.2);
  const at::Tensor inputs = at::mm(at::randn({tokens, columns}, at::kDouble), mix);
  return at::mm(inputs.t(), inputs) / static_cast<double>(tokens);
}

std::vector<std::int64_t> with_zeros(at::Tensor& hessian, std::vector<std::int64_t> dead) {
  for (const std::int64_t column : dead) {
    hessian.select(0, column).zero_();
    hessian.select(1, column).zero_();
  }
  return dead;
}

at::Tensor in_order(const at::Tensor& matrix, const std::vector<std::int64_t>& order) {
  const at::Tensor index = at::tensor(order, at::kLong);
  return matrix.index_select(0, index).index_select(1, index);
}

TEST_CASE("the factor multiplies to the inverse in the given order", "[stats][property]") {
  const auto tokens = GENERATE(2000, 300);
  const at::Tensor hessian = make_hessian(kColumns, tokens);
  const std::vector<std::int64_t> order = descending_diagonal(hessian);
  const auto factor = inverse_factor(hessian, 0.01, order);
  REQUIRE(factor.has_value());
  CHECK(factor->rung == 0);
  CHECK(factor->damping == 0.01);
  CHECK(factor->dead_columns.empty());
  CHECK(at::equal(factor->upper, factor->upper.triu()));
  CHECK(factor->upper.diagonal().min().item<float>() > 0);
  const at::Tensor upper = factor->upper.to(at::kDouble);
  const at::Tensor damped = in_order(damp(hessian, 0.01).matrix, order);
  const at::Tensor identity = at::mm(at::mm(upper, damped), upper.t());
  // U is rounded to float: each entry of U H U^T is off by about 2^-24 times the condition's root,
  // at most (1 + largest eigenvalue / damping)^0.5 < 100 here.
  CHECK((identity - at::eye(kColumns, at::kDouble)).abs().max().item<double>() < 100 * 0x1p-23);
}

TEST_CASE("the order is that of falling mean squares, the lower of equals first", "[stats]") {
  const at::Tensor hessian = at::diag(at::tensor({2.0, 5.0, 0.0, 5.0, 3.0}, at::kDouble));
  CHECK(descending_diagonal(hessian) == std::vector<std::int64_t>{1, 3, 4, 0, 2});
}

TEST_CASE("dead columns get the mean of the live ones and stay uncoupled", "[stats]") {
  at::Tensor hessian = make_hessian(9);
  const std::vector<std::int64_t> dead = with_zeros(hessian, {2, 7});
  const double mean = hessian.diagonal().sum().item<double>() / 7;
  const DampedHessian damped = damp(hessian, 0.1);
  CHECK(damped.dead_columns == dead);
  CHECK(damped.added == Approx(0.1 * mean));
  CHECK(at::equal(damped_in_float(hessian, 0.1), damped.matrix.to(at::kFloat)));
  CHECK(damped.matrix[2][2].item<double>() == Approx(1.1 * mean));
  CHECK(damped.matrix[3][3].item<double>() == Approx(hessian[3][3].item<double>() + 0.1 * mean));
  const auto factor = inverse_factor(hessian, 0.1, natural_order(9));
  REQUIRE(factor.has_value());
  CHECK(factor->dead_columns == dead);
  CHECK(at::count_nonzero(factor->upper[2]).item<std::int64_t>() == 1);
  CHECK(at::count_nonzero(factor->upper.select(1, 7)).item<std::int64_t>() == 1);
}

TEST_CASE("a Hessian of zeros becomes the identity", "[stats]") {
  const auto factor = inverse_factor(at::zeros({5, 5}, at::kDouble), 0.01, natural_order(5));
  REQUIRE(factor.has_value());
  CHECK(factor->dead_columns == natural_order(5));
  CHECK(at::equal(factor->upper, at::eye(5)));
}

TEST_CASE("damping is raised until the factorization succeeds, and the rung is told", "[stats]") {
  // Eigenvalues 1 + c and 1 - c (c = 1.03 and 1.2), mean diagonal 1: positive from 0.03 and 0.2 on.
  const auto indefinite = [](double c) {
    return at::tensor({1.0, c, c, 1.0}, at::kDouble).view({2, 2});
  };
  const auto third = inverse_factor(indefinite(1.03), 0.01, natural_order(2));
  REQUIRE(third.has_value());
  CHECK(third->rung == 2);
  CHECK(third->damping == Approx(0.05));
  const auto last = inverse_factor(indefinite(1.2), 0.01, natural_order(2));
  REQUIRE(last.has_value());
  CHECK(last->rung == 4);
  CHECK(last->damping == Approx(1.0));
  CHECK(!inverse_factor(indefinite(2.1), 0.01, natural_order(2)).has_value());
}

TEST_CASE("the inverse undoes the damped Hessian", "[stats][property]") {
  const DampedHessian damped = damp(make_hessian(), 0.01);
  const auto inverted = inverse(damped);
  REQUIRE(inverted.has_value());
  const at::Tensor identity = at::mm(*inverted, damped.matrix);
  CHECK((identity - at::eye(kColumns, at::kDouble)).abs().max().item<double>() < 1e-11);
}

TEST_CASE("factors are the same bytes for any number of threads", "[stats][property]") {
  const at::Tensor hessian = make_hessian();
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = inverse_factor(hessian, 0.01, natural_order(kColumns));
  const auto inverted = inverse(damp(hessian, 0.01));
  REQUIRE((one.has_value() && inverted.has_value()));
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    CHECK(at::equal(one->upper, inverse_factor(hessian, 0.01, natural_order(kColumns))->upper));
    CHECK(at::equal(*inverted, *inverse(damp(hessian, 0.01))));
  }
  at::set_num_threads(before);
}

TEST_CASE("how long a factor takes", "[.benchmark]") {
  const auto columns = GENERATE(2048, 4096);
  const at::Tensor hessian = make_hessian(columns, columns + 100);
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(inverse_factor(hessian, 0.01, natural_order(columns)).has_value());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << columns << " columns: " << seconds.count() << " s on " << at::get_num_threads()
            << " threads\n";
}

}  // namespace
}  // namespace edgecompress
