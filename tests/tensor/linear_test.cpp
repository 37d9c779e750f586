#include "tensor/linear.h"

#include <ATen/Parallel.h>

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

struct LinearGradients {
  at::Tensor output;
  at::Tensor of_input;
  at::Tensor of_weight;
};

/// d sum(output * direction) of a linear layer.
LinearGradients gradients(const at::Tensor& input, const at::Tensor& weight,
                          const at::Tensor& direction) {
  const at::Tensor x = input.detach().clone().requires_grad_();
  const at::Tensor w = weight.detach().clone().requires_grad_();
  const at::Tensor output = stable_linear(x, w);
  output.backward(direction);
  return {output.detach(), x.grad(), w.grad()};
}

TEST_CASE("a linear layer's gradients are the products of the chain rule", "[tensor]") {
  at::manual_seed(5);
  const at::Tensor input = at::randn({2, 70, 40});
  const at::Tensor weight = at::randn({150, 40});  // more than one tile of rows
  const at::Tensor direction = at::randn({2, 70, 150});
  const LinearGradients found = gradients(input, weight, direction);
  const auto rows = [](const at::Tensor& values) {
    return values.reshape({-1, values.size(-1)}).to(at::kDouble);
  };
  const auto near = [](const at::Tensor& a, const at::Tensor& b) {
    return (a.to(at::kDouble) - b).abs().max().item<double>();
  };
  // at most 150 terms of about 1, each rounded at 2^-24 of a sum below 100
  CHECK(found.output.equal(at::linear(input, weight)));
  CHECK(near(rows(found.of_input), rows(direction).mm(rows(weight))) < 150 * 100 * 6e-8);
  CHECK(near(found.of_weight, rows(direction).t().mm(rows(input))) < 150 * 100 * 6e-8);
  CHECK(found.of_input.sizes() == input.sizes());
}

TEST_CASE("a linear layer's gradients are the same bytes for any number of threads", "[tensor]") {
  at::manual_seed(6);
  for (const std::int64_t width : {24, 96, 300}) {  // one tile of rows, and several
    const at::Tensor input = at::randn({1, 2050, width});
    const at::Tensor weight = at::randn({width, width});
    const at::Tensor direction = at::randn({1, 2050, width});
    at::set_num_threads(1);
    const LinearGradients one = gradients(input, weight, direction);
    for (const int threads : {2, 3, 5}) {
      CAPTURE(width, threads);
      at::set_num_threads(threads);
      const LinearGradients other = gradients(input, weight, direction);
      CHECK(other.of_input.equal(one.of_input));
      CHECK(other.of_weight.equal(one.of_weight));
    }
    at::set_num_threads(1);
  }
}

}  // namespace
}  // namespace edgecompress
