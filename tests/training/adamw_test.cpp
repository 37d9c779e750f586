#include "training/adamw.h"

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

at::Tensor leaf(std::vector<float> values) { return at::tensor(values).requires_grad_(); }

TEST_CASE("AdamW moves as the paper's recursion does, each parameter at its own rate",
          "[training]") {
  const at::Tensor a = leaf({1.0F, -2.0F});
  const at::Tensor b = leaf({0.5F});
  AdamW optimizer({{a, 0.1}, {b, 0.01}});
  double expected_a = 1;
  double expected_b = 0.5;
  double mean_a = 0, square_a = 0, mean_b = 0, square_b = 0;
  const auto moved = [](double& mean, double& square, double gradient, double rate, int step) {
    mean = 0.9 * mean + 0.1 * gradient;
    square = 0.999 * square + 0.001 * gradient * gradient;
    return rate * (mean / (1 - std::pow(0.9, step))) /
           (std::sqrt(square / (1 - std::pow(0.999, step))) + 1e-8);
  };
  for (int step = 1; step <= 3; ++step) {
    const double gradient = 0.3 * step - 0.7;
    a.mutable_grad() = at::tensor({static_cast<float>(gradient), 0.0F});
    b.mutable_grad() = at::tensor({-2.0F});
    optimizer.step(/*rate_share=*/0.5, /*gradient_share=*/0.25);
    expected_a -= moved(mean_a, square_a, gradient * 0.25, 0.05, step);
    expected_b -= moved(mean_b, square_b, -2.0 * 0.25, 0.005, step);
    CHECK(std::abs(a[0].item<double>() - expected_a) < 1e-6);  // three steps of a few roundings
    CHECK(std::abs(b[0].item<double>() - expected_b) < 1e-6);
    CHECK(a[1].item<float>() == -2.0F);  // no gradient, no move
    CHECK_FALSE(a.grad().defined());
  }
}

TEST_CASE("the length of all gradients counts every element of every parameter", "[training]") {
  const at::Tensor a = leaf({0.0F, 0.0F});
  const at::Tensor b = leaf({0.0F});
  const at::Tensor untouched = leaf({0.0F});
  a.mutable_grad() = at::tensor({2.0F, 3.0F});
  b.mutable_grad() = at::tensor({6.0F});
  CHECK(gradient_norm({{a, 1}, {b, 1}, {untouched, 1}}) == 7.0);
}

TEST_CASE("the schedule falls by half a cosine from 1", "[training]") {
  CHECK(cosine_share(0, 10) == 1);
  CHECK(std::abs(cosine_share(5, 10) - 0.5) < 1e-12);
  CHECK(std::abs(cosine_share(10, 10)) < 1e-12);
  CHECK(std::abs(cosine_share(2, 6) - 0.75) < 1e-12);
}

TEST_CASE("AdamW steps many weights as LibTorch's operations do", "[training]") {
  at::manual_seed(3);
  at::Tensor value = at::randn({130, 300}).requires_grad_();
  at::Tensor expected = value.detach().clone();
  at::Tensor mean = at::zeros_like(expected);
  at::Tensor square = at::zeros_like(expected);
  AdamW optimizer({{value, 1e-3}});
  for (int step = 1; step <= 5; ++step) {
    const at::Tensor gradient = at::randn({130, 300}) * 1e-6 * at::rand({130, 300}).gt(0.3);
    value.mutable_grad() = gradient.clone();
    optimizer.step(0.7, 0.5);
    const at::Tensor used = gradient * 0.5;
    mean = mean * 0.9 + used * (1 - 0.9);
    square = square * 0.999 + used.square() * (1 - 0.999);
    const double rate = 1e-3 * 0.7 / (1 - std::pow(0.9, step));
    const double share = std::sqrt(1 - std::pow(0.999, step));
    expected = expected - (mean * rate).div(square.sqrt() * (1 / share) + 1e-8);
    const at::Tensor difference = (value.detach() - expected).abs();
    CHECK(difference.max().item<double>() < 3e-7);  // a rounding or two of values below 5
  }
}

}  // namespace
}  // namespace edgecompress
