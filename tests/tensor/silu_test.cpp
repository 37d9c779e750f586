#include "tensor/silu.h"

#include <ATen/Parallel.h>

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

TEST_CASE("silu is the same bytes for any number of threads and shape", "[tensor]") {
  at::manual_seed(4);
  for (const std::int64_t size : {1, 16384, 16385, 50001, 3 * 1024 * 100 + 7}) {
    const at::Tensor values = at::randn({size}) * 4;
    at::set_num_threads(1);
    const at::Tensor one = stable_silu(values);
    for (const int threads : {2, 3}) {
      at::set_num_threads(threads);
      CHECK(stable_silu(values).equal(one));
    }
    at::set_num_threads(1);
    const at::Tensor exact = values.to(at::kDouble) / (1 + (-values.to(at::kDouble)).exp());
    CHECK((one - exact).abs().max().item<double>() < 2e-6);  // a few roundings of values up to 16
  }
  CHECK((stable_silu(at::zeros({2, 3, 4})).sizes() == at::IntArrayRef{2, 3, 4}));
}

TEST_CASE("silu's gradient is right and the same bytes for any number of threads", "[tensor]") {
  at::manual_seed(5);
  const at::Tensor values = at::randn({3, 50001}) * 4;
  const at::Tensor direction = at::randn({3, 50001});
  const auto gradient = [&](int threads) {
    at::set_num_threads(threads);
    const at::Tensor x = values.clone().requires_grad_();
    stable_silu(x).backward(direction);
    at::set_num_threads(1);
    return x.grad();
  };
  const at::Tensor one = gradient(1);
  for (const int threads : {2, 3}) CHECK(gradient(threads).equal(one));
  const at::Tensor x = values.to(at::kDouble);
  const at::Tensor s = at::sigmoid(x);
  const at::Tensor exact = direction.to(at::kDouble) * s * (1 + x * (1 - s));
  CHECK((one - exact).abs().max().item<double>() < 2e-5);  // a few roundings of values up to 80
}

}  // namespace
}  // namespace edgecompress
