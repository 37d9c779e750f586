#include "pipeline/layer_steps.h"
#include "stats/hessian.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kTokens = 400;
constexpr std::int64_t kColumns = 64;

LayerInputs inputs_of(const at::Tensor& tokens) {
  Hessian hessian(tokens.size(1));
  hessian.add(tokens);
  const at::Tensor matrix = hessian.matrix();
  return {.norm = (matrix.diagonal() * static_cast<double>(kTokens)).sqrt().to(at::kFloat),
          .deviation = {},
          .hessian = matrix};
}

struct OddInputs {
  std::string name;
  at::Tensor tokens;
};

std::vector<OddInputs> odd_inputs() {
  at::manual_seed(5);
  const at::Tensor ordinary = at::randn({kTokens, kColumns});
  at::Tensor constant = ordinary.clone();
  constant.select(1, 3).fill_(20.0);
  at::Tensor twice = ordinary.clone();
  twice.select(1, 9).copy_(twice.select(1, 8));
  at::Tensor silent = ordinary.clone();
  silent.select(1, 40).zero_();
  at::Tensor one_token = ordinary.slice(0, 0, 1).expand({kTokens, kColumns}).contiguous();
  return {{"a constant input", constant},
          {"two equal inputs", twice},
          {"an input that is always 0", silent},
          {"one and the same token", one_token},
          {"inputs beyond the largest half", ordinary * 1e6}};
}

TEST_CASE("GPTQ on odd inputs is finite and loses no more than rounding to the nearest",
          "[pipeline][property]") {
  const QuantScheme scheme{.bits = 4, .group_size = 32, .symmetry = Symmetry::Asymmetric};
  for (const OddInputs& odd : odd_inputs()) {
    CAPTURE(odd.name);
    at::manual_seed(6);
    const at::Tensor weight = at::randn({24, kColumns});
    GroupInputs inputs(inputs_of(odd.tokens));
    const LayerState layer{.weight = weight, .dense = weight};
    const double nearest =
        nearest_output_error(layer, relative_hessian(inputs.hessian()), scheme, 1);
    const LayerState rounded = quantize_layer(layer, &inputs, scheme, GptqOptions{}, 1);
    CHECK(at::isfinite(rounded.weight).all().item<bool>());
    CHECK(rounded.fallbacks.empty());
    CHECK(rounded.damping_rung.has_value());
    CHECK(output_energy(weight - rounded.weight, relative_hessian(inputs.hessian())) < nearest);
  }
}

TEST_CASE("the nearest error is that of rounding to the nearest, whatever the method does",
          "[pipeline]") {
  at::manual_seed(7);
  const QuantScheme scheme{.bits = 4, .group_size = 32};
  const at::Tensor weight = at::randn({8, kColumns});
  const LayerState layer{.weight = weight, .dense = weight};
  GroupInputs inputs(inputs_of(at::randn({kTokens, kColumns})));
  const LayerState rounded = quantize_layer(layer, nullptr, scheme, RtnOptions{}, 1);
  CHECK(nearest_output_error(layer, relative_hessian(inputs.hessian()), scheme, 1) ==
        output_energy(weight - rounded.weight, relative_hessian(inputs.hessian())));
}

}  // namespace
}  // namespace edgecompress
