#include "pipeline/input_scaling.h"

#include <array>

#include "decoder/block_forward.h"
#include "support/catch.h"
#include "support/random_block.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr BlockShape kShape{
    .num_attention_heads = 6, .num_key_value_heads = 2, .intermediate_size = 40};
constexpr std::int64_t kHidden = 24;
constexpr std::int64_t kHeadDim = 8;

BlockWeights test_block() {
  BlockWeights block = random_block(kShape, kHidden, kHeadDim, 5);
  block.bias(LinearKind::V) = at::randn({kShape.num_key_value_heads * kHeadDim});
  block.bias(LinearKind::Up) = at::randn({kShape.intermediate_size});
  return block;
}

/// The layers when a group's turn comes: those before it are on a grid, and the block computes with
/// what their codes stand for.
std::map<LinearKind, LayerState> layers_before(InputGroup group, BlockWeights& block) {
  std::map<LinearKind, LayerState> layers;
  for (const LinearKind kind : kLinearKinds) {
    LayerState layer{.weight = block.weight(kind), .dense = block.weight(kind)};
    if (input_group(kind) < group) {
      layer = quantize_layer(std::move(layer), nullptr,
                             {.bits = 4, .group_size = 8, .symmetry = Symmetry::Asymmetric},
                             RtnOptions{}, 1);
    }
    block.weight(kind) = layer.weight;
    layers.emplace(kind, std::move(layer));
  }
  return layers;
}

TEST_CASE("folded scales of any group leave what the block computes", "[pipeline][property]") {
  const InputGroup group =
      GENERATE(InputGroup::QKV, InputGroup::O, InputGroup::GateUp, InputGroup::Down);
  BlockWeights block = test_block();
  std::map<LinearKind, LayerState> layers = layers_before(group, block);
  const RotaryTable rotary = test_rotary_table(kHeadDim, 10);
  const at::Tensor hidden = at::randn({2, 10, kHidden});
  const at::Tensor before = block_forward(block, rotary, hidden, {});

  const std::vector<std::int64_t> numbers = scale_of_column(group, block);
  const at::Tensor distinct = at::rand({static_cast<std::int64_t>(numbers.size())}) * 3 + 0.2;
  const at::Tensor scales = distinct.index_select(0, at::tensor(numbers, at::kLong));
  BlockWeights scaled = block;
  fold_scales({.group = group,
               .layers = layers,
               .blocks = {&scaled},
               .dtype = DType::F32,
               .num_threads = 1},
              scales);
  for (const LinearKind kind : kLinearKinds) {
    if (input_group(kind) != group) continue;
    CHECK(!layers.at(kind).weight.equal(block.weight(kind)));
    scaled.weight(kind) = layers.at(kind).weight;
  }
  const at::Tensor after = block_forward(scaled, rotary, hidden, {});
  CHECK((after - before).abs().max().item<double>() < 1e-5 * before.abs().max().item<double>());
}

TEST_CASE("rows of quantized weights are divided in their scales alone", "[pipeline]") {
  BlockWeights block = test_block();
  std::map<LinearKind, LayerState> layers = layers_before(InputGroup::O, block);
  LayerState& v = layers.at(LinearKind::V);
  const std::vector<std::int8_t> codes(v.codes->codes().begin(), v.codes->codes().end());
  const at::Tensor before = v.weight;
  const at::Tensor divisors = at::arange(1, 17, at::kFloat);
  divide_rows(v, divisors, DType::F32, 1);
  CHECK(std::equal(codes.begin(), codes.end(), v.codes->codes().begin()));
  // A scale is rounded once and a weight once more.
  CHECK((v.weight * divisors.unsqueeze(1) - before).abs().max().item<double>() <
        4 * 0x1p-24 * before.abs().max().item<double>());
}

TEST_CASE("inputs divided by scales have the Hessian of the divided inputs", "[pipeline]") {
  at::manual_seed(8);
  const at::Tensor inputs = at::randn({200, 12});
  const at::Tensor scales = at::rand({12}) + 0.5;
  const auto gathered = [](const at::Tensor& x) {
    return LayerInputs{.norm = x.square().sum(0).sqrt(),
                       .deviation = {},
                       .hessian = at::matmul(x.t(), x).to(at::kDouble) / x.size(0)};
  };
  GroupInputs group(gathered(inputs));
  group.divide(scales);
  const LayerInputs expected = gathered(inputs / scales);
  CHECK(at::allclose(group.norm(), expected.norm, 1e-5, 0));
  CHECK(at::allclose(group.hessian(), expected.hessian, 1e-5, 1e-6));
}

}  // namespace
}  // namespace edgecompress
