#include "pipeline/head_steps.h"

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

TEST_CASE("a head reads the normed states of all tokens, padding left out", "[pipeline]") {
  constexpr std::int64_t kWidth = 12;
  constexpr double kEps = 1e-5;
  at::manual_seed(4);
  TokenWindows windows;
  windows.count = 3;
  windows.length = 10;
  windows.ids.resize(30);
  windows.lengths = {10, 3, 6};
  HiddenStates states(windows, at::full({1, kWidth}, 50.0F), {});
  const at::Tensor all = states.windows(0, 3);
  std::vector<at::Tensor> tokens;
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor own = all[i].narrow(0, 0, windows.lengths[static_cast<std::size_t>(i)]);
    own.copy_(at::randn(own.sizes()));
    tokens.push_back(own.to(at::kDouble));
  }
  const at::Tensor norm = at::rand({kWidth}) + 0.5;
  const at::Tensor plain = at::cat(tokens);  // [19, width]
  const at::Tensor length = (plain.square().mean(1, /*keepdim=*/true) + kEps).sqrt();
  const at::Tensor read = plain / length * norm.to(at::kDouble);

  const LayerInputs found = gather_head_inputs(states, norm, kEps);
  // products in float of 19 terms of size up to 20
  CHECK((found.hessian - at::mm(read.t(), read) / 19).abs().max().item<double>() < 1e-4);
  CHECK((found.norm - read.square().sum(0).sqrt()).abs().max().item<double>() < 1e-4);
}

}  // namespace
}  // namespace edgecompress
