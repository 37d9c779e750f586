#include "pipeline/layer_steps.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "decoder/block_forward.h"
#include "pipeline/block_cut.h"
#include "support/catch.h"
#include "support/random_block.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

struct Shape {
  BlockShape block;
  std::int64_t hidden_size;
  std::int64_t head_dim;
};

const Shape kShapes[] = {
    {{.num_attention_heads = 8, .num_key_value_heads = 8, .intermediate_size = 40}, 32, 4},
    {{.num_attention_heads = 8, .num_key_value_heads = 4, .intermediate_size = 33}, 48, 6},
    {{.num_attention_heads = 6, .num_key_value_heads = 2, .intermediate_size = 64}, 24, 10},
    {{.num_attention_heads = 9, .num_key_value_heads = 3, .intermediate_size = 17}, 20, 8},
};

std::vector<std::int64_t> random_subset(std::int64_t count, std::int64_t size,
                                        std::mt19937& random) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  std::shuffle(all.begin(), all.end(), random);
  all.resize(static_cast<std::size_t>(size));
  std::sort(all.begin(), all.end());
  return all;
}

/// KV groups with all of their query heads.
KeptHeads whole_groups(const BlockShape& shape, const std::vector<std::int64_t>& groups) {
  const std::int64_t per_group = shape.num_attention_heads / shape.num_key_value_heads;
  KeptHeads kept{.kv_groups = groups, .query_heads = {}};
  for (const std::int64_t group : groups) {
    for (std::int64_t i = 0; i < per_group; ++i) kept.query_heads.push_back(group * per_group + i);
  }
  return kept;
}

/// The block with what is not kept set to zero instead of cut: o and down read nothing of it.
BlockWeights zeroed(const BlockWeights& block, const KeptParts& kept) {
  BlockWeights result = block;
  const std::int64_t width =
      block.head_dim * block.shape.num_attention_heads / block.shape.num_key_value_heads;
  result.weight(LinearKind::O) = block.weight(LinearKind::O).clone();
  result.weight(LinearKind::Down) = block.weight(LinearKind::Down).clone();
  for (std::int64_t group = 0; group < block.shape.num_key_value_heads; ++group) {
    const std::vector<std::int64_t>& groups = kept.heads.kv_groups;
    if (std::count(groups.begin(), groups.end(), group) == 0) {
      result.weight(LinearKind::O).narrow(1, group * width, width).zero_();
    }
  }
  for (std::int64_t channel = 0; channel < block.shape.intermediate_size; ++channel) {
    if (std::count(kept.channels.begin(), kept.channels.end(), channel) == 0) {
      result.weight(LinearKind::Down).select(1, channel).zero_();
    }
  }
  return result;
}

TEST_CASE("a cut block computes what the block with zeros in those places computes",
          "[pipeline][property]") {
  const int seed = GENERATE(range(0, 6));
  std::mt19937 random(static_cast<unsigned>(seed));
  for (const Shape& shape : kShapes) {
    const BlockWeights block = random_block(shape.block, shape.hidden_size, shape.head_dim,
                                            static_cast<std::uint64_t>(seed));
    const auto some = [&](std::int64_t count) {
      return random_subset(count, std::uniform_int_distribution<std::int64_t>(1, count - 1)(random),
                           random);
    };
    const KeptParts kept{.heads = whole_groups(shape.block, some(shape.block.num_key_value_heads)),
                         .channels = some(shape.block.intermediate_size)};
    CAPTURE(seed, shape.hidden_size, kept.heads.kv_groups, kept.channels);
    const RotaryTable rotary = test_rotary_table(shape.head_dim, 12);
    const at::Tensor hidden = at::randn({2, 12, shape.hidden_size});
    const at::Tensor cut = block_forward(cut_block(block, kept), rotary, hidden, {});
    const at::Tensor expected = block_forward(zeroed(block, kept), rotary, hidden, {});
    CHECK((cut - expected).abs().max().item<double>() < 1e-5);
    CHECK((cut - block_forward(block, rotary, hidden, {})).abs().max().item<double>() > 1e-3);
  }
}

TEST_CASE("biases are cut with their rows", "[pipeline]") {
  BlockWeights block = random_block(kShapes[1].block, 48, 6, 9);
  block.bias(LinearKind::K) = at::arange(24, at::kFloat);
  block.bias(LinearKind::Up) = at::arange(33, at::kFloat);
  block.bias(LinearKind::O) = at::arange(48, at::kFloat);
  const BlockWeights cut =
      cut_block(block, {.heads = whole_groups(block.shape, {1, 3}), .channels = {0, 5, 32}});
  CHECK(cut.bias(LinearKind::K)[0].item<float>() == 6);
  CHECK(cut.bias(LinearKind::K)[6].item<float>() == 18);
  CHECK(cut.bias(LinearKind::Up)[2].item<float>() == 32);
  CHECK(cut.bias(LinearKind::O).equal(block.bias(LinearKind::O)));
  CHECK(cut.shape.num_attention_heads == 4);
}

TEST_CASE("masks of several steps add up, and stay when the layer is quantized", "[pipeline]") {
  at::manual_seed(11);
  LayerState layer;
  layer.weight = at::randn({32, 64});
  const MaskStep rows{.method = MagnitudeMask{}, .pattern = PerRow{.sparsity = 0.25}};
  const MaskStep runs{.method = MagnitudeMask{}, .pattern = NofM{.keep = 2, .of = 4}};
  layer = mask_layer(mask_layer(layer, nullptr, rows, DType::F32), nullptr, runs, DType::F32);
  const at::Tensor dropped = layer.keep.logical_not();
  CHECK(dropped.sum().item<std::int64_t>() >= 32 * 32);  // half of every run at least
  const LayerState quantized = quantize_layer(
      layer, nullptr, {.bits = 4, .group_size = 32, .symmetry = Symmetry::Asymmetric}, RtnOptions{},
      1);
  CHECK(quantized.weight.masked_select(dropped).eq(0).all().item<bool>());
  CHECK(quantized.codes->scheme().bits == 4);
}

TEST_CASE("smoothquant rounds as it is told, to the nearest or by GPTQ", "[pipeline]") {
  at::manual_seed(17);
  const at::Tensor tokens = at::randn({64, 32});
  const at::Tensor weight = at::randn({12, 32});
  const QuantScheme scheme{.bits = 4, .group_size = 32};
  const auto rounded = [&](const QuantizeMethod& method) {
    GroupInputs inputs({.norm = tokens.square().sum(0).sqrt(),
                        .deviation = {},
                        .hessian = at::mm(tokens.t(), tokens).to(at::kDouble) / 64});
    const LayerState layer{.weight = weight, .dense = weight};
    return quantize_layer(layer, &inputs, scheme, method, 1).weight;
  };
  const at::Tensor nearest = rounded(SmoothQuantOptions{});
  const at::Tensor compensated = rounded(SmoothQuantOptions{.rounding = SmoothRounding::Gptq});
  CHECK(nearest.equal(rounded(RtnOptions{})));
  CHECK(compensated.equal(rounded(GptqOptions{})));
  CHECK_FALSE(compensated.equal(nearest));
}

TEST_CASE("a repaired mask loses less of the output than the mask alone", "[pipeline]") {
  at::manual_seed(12);
  const at::Tensor mix = at::randn({24, 24});
  const at::Tensor inputs = at::matmul(at::randn({500, 24}), mix);  // correlated columns
  LayerInputs gathered{.norm = inputs.square().sum(0).sqrt(),
                       .deviation = {},
                       .hessian = at::matmul(inputs.t(), inputs).to(at::kDouble) / 500};
  GroupInputs group(gathered);
  LayerState layer;
  layer.weight = at::randn({16, 24});
  const auto loss = [&](MaskRepair repair) {
    const MaskStep step{
        .method = WandaMask{}, .pattern = PerRow{.sparsity = 0.5}, .repair = repair};
    const LayerState masked = mask_layer(layer, &group, step, DType::F32);
    CHECK(masked.weight.eq(0).sum().item<std::int64_t>() == 16 * 12);
    return at::matmul(inputs, (masked.weight - layer.weight).t()).square().sum().item<double>();
  };
  CHECK(loss(MaskRepair::LeastSquares) < 0.7 * loss(MaskRepair::None));
}

TEST_CASE("a mask repaired with the rounding loses less than one rounded as it is", "[pipeline]") {
  at::manual_seed(14);
  const at::Tensor inputs = at::matmul(at::randn({500, 32}), at::randn({32, 32}));
  GroupInputs group({.norm = inputs.square().sum(0).sqrt(),
                     .deviation = {},
                     .hessian = at::matmul(inputs.t(), inputs).to(at::kDouble) / 500});
  const at::Tensor weight = at::randn({16, 32});
  const QuantScheme scheme{.bits = 4, .group_size = 32};
  const auto loss = [&](const MaskMethod& method, MaskRepair repair) {
    const MaskStep step{.method = method, .pattern = PerRow{.sparsity = 0.5}, .repair = repair};
    LayerState layer{.weight = weight, .dense = weight};
    layer = mask_layer(std::move(layer), &group, step, DType::F32);
    layer = quantize_layer(std::move(layer), &group, scheme, GptqOptions{}, 1);
    CHECK(layer.weight.masked_select(layer.keep.logical_not()).eq(0).all().item<bool>());
    CHECK(layer.keep.sum().item<std::int64_t>() == 16 * 16);
    return at::matmul(inputs, (layer.weight - weight).t()).square().sum().item<double>();
  };
  CHECK(loss(MagnitudeMask{}, MaskRepair::WithRounding) <
        0.6 * loss(MagnitudeMask{}, MaskRepair::None));
  CHECK(loss(WandaMask{}, MaskRepair::WithRounding) < 0.8 * loss(WandaMask{}, MaskRepair::None));
  CHECK(loss(WandaMask{}, MaskRepair::LeastSquares) <
        1.05 * loss(WandaMask{}, MaskRepair::WithRounding));
}

TEST_CASE("a mask repaired for the dense outputs aims at them, not at the layer's own",
          "[pipeline]") {
  at::manual_seed(13);
  const at::Tensor inputs = at::matmul(at::randn({500, 24}), at::randn({24, 24}));
  const at::Tensor wanted = at::matmul(inputs, at::randn({24, 16}));  // [tokens, out]
  LayerInputs gathered{.norm = inputs.square().sum(0).sqrt(),
                       .deviation = {},
                       .hessian = at::matmul(inputs.t(), inputs).to(at::kDouble) / 500};
  GroupInputs group(gathered);
  LayerState layer;
  layer.weight = at::randn({16, 24});
  layer.wanted_outputs = at::matmul(wanted.t(), inputs).to(at::kDouble) / 500;
  const auto loss = [&](MaskRepair repair) {
    const MaskStep step{
        .method = SparseGptMask{}, .pattern = PerRow{.sparsity = 0.25}, .repair = repair};
    const LayerState masked = mask_layer(layer, &group, step, DType::F32);
    CHECK(masked.keep.sum().item<std::int64_t>() == 16 * 18);
    CHECK(masked.fallbacks.empty());
    return (at::matmul(inputs, masked.weight.t()) - wanted).square().sum().item<double>();
  };
  CHECK(loss(MaskRepair::DenseOutputs) < 0.2 * loss(MaskRepair::LeastSquares));
}

}  // namespace
}  // namespace edgecompress
