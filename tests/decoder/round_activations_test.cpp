#include "decoder/round_activations.h"

#include "decoder/block_forward.h"
#include "support/catch.h"
#include "support/random_block.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr ActivationScheme kPerToken{.rounding = ActivationRounding::Int8PerToken};
constexpr ActivationScheme kPerTensor{.rounding = ActivationRounding::Int8PerTensor};

at::Tensor row(const std::vector<float>& values) {
  return at::tensor(values, at::kFloat).view({1, 1, -1});
}

TEST_CASE("each token has a range of its own, halves go to the even code", "[decoder]") {
  // scale 1: the range is 127.5, whose own code 128 does not exist
  const at::Tensor input =
      at::cat({row({127.5F, 2.5F, -3.5F, 0.4F}), row({-1.275F, 0, 0.01F, 1})}, 1);
  const at::Tensor found = round_activations(input, kPerToken);
  CHECK(found[0][0].equal(at::tensor({127.0F, 2.0F, -4.0F, 0.0F})));
  CHECK(at::allclose(found[0][1], at::tensor({-1.28F, 0.0F, 0.01F, 1.0F}), 1e-6, 1e-7));
}

TEST_CASE("a token of zeros stays one", "[decoder]") {
  const at::Tensor zeros = at::zeros({1, 2, 8});
  for (const ActivationScheme& scheme :
       {kPerToken, kPerTensor,
        ActivationScheme{.rounding = ActivationRounding::Int8PerBlock, .block = 4}}) {
    CHECK(round_activations(zeros, scheme).equal(zeros));
  }
}

TEST_CASE("one range for a sequence is DynamicQuantizeLinear's", "[decoder]") {
  // the example of the ONNX specification: scale 0.0196078438, zero point 153
  const at::Tensor input = row({0, 2, -3, -2.5F, 1.34F, 0.5F});
  const at::Tensor codes = at::tensor({153.0F, 255.0F, 0.0F, 26.0F, 221.0F, 179.0F});
  const at::Tensor found = round_activations(input, kPerTensor).flatten();
  CHECK(at::allclose(found, (codes - 153) * 0.0196078438F, 1e-6, 1e-6));
}

TEST_CASE("the sequences of a batch share no range, their tokens do", "[decoder]") {
  const at::Tensor small = at::randn({1, 3, 16});
  const at::Tensor large = 1000 * at::randn({1, 3, 16});
  const at::Tensor together = round_activations(at::cat({small, large}), kPerTensor);
  CHECK(together.narrow(0, 0, 1).equal(round_activations(small, kPerTensor)));
  const at::Tensor one_sequence = round_activations(at::cat({small, large}, 1), kPerTensor);
  CHECK_FALSE(one_sequence.narrow(1, 0, 3).equal(round_activations(small, kPerTensor)));
}

TEST_CASE("a block's range ends with the block, also a short last one", "[decoder]") {
  const ActivationScheme scheme{.rounding = ActivationRounding::Int8PerBlock, .block = 4};
  const at::Tensor found = round_activations(row({127, 0.4F, 0, 0, 1.27F, 0.004F}), scheme);
  CHECK(at::allclose(found.flatten(), at::tensor({127.0F, 0.0F, 0.0F, 0.0F, 1.27F, 0.0F}), 1e-6,
                     1e-7));
}

TEST_CASE("rounding moves no input by more than half a step, and some by nearly that",
          "[decoder][property]") {
  at::manual_seed(3);
  const at::Tensor input = at::randn({2, 5, 256}) * at::rand({2, 5, 1});
  const at::Tensor step = input.abs().amax(-1, true) / 127.5;
  const at::Tensor moved = (round_activations(input, kPerToken) - input).abs() / step;
  CHECK(moved.max().item<double>() <= 0.5 * (1 + 1e-4));
  CHECK(moved.max().item<double>() > 0.45);
}

TEST_CASE("the gradient passes as if nothing were rounded", "[decoder]") {
  const at::Tensor input = at::randn({1, 2, 8}).requires_grad_();
  const at::Tensor weight = at::randn({1, 2, 8});
  (round_activations(input, kPerToken) * weight).sum().backward();
  CHECK(input.grad().equal(weight));
}

TEST_CASE("a layer rounds its own inputs and no other's", "[decoder]") {
  constexpr BlockShape kShape{
      .num_attention_heads = 4, .num_key_value_heads = 2, .intermediate_size = 20};
  BlockWeights block = random_block(kShape, 24, 6, 1);
  const at::Tensor input = at::randn({1, 3, 24});
  const at::Tensor plain = linear_output(block, LinearKind::Up, input);
  block.activation(LinearKind::Gate) = kPerToken;
  CHECK(linear_output(block, LinearKind::Up, input).equal(plain));
  block.activation(LinearKind::Up) = kPerToken;
  CHECK(linear_output(block, LinearKind::Up, input)
            .equal(at::linear(round_activations(input, kPerToken), block.weight(LinearKind::Up))));
  CHECK_FALSE(linear_output(block, LinearKind::Up, input).equal(plain));
}

}  // namespace
}  // namespace edgecompress
