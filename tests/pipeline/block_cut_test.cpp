#include "pipeline/block_cut.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "support/catch.h"
#include "support/random_block.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHeadDim = 8;
constexpr std::int64_t kLength = 20;

/// Some of 0 .. count - 1, at least one, ascending.
std::vector<std::int64_t> some_of(std::int64_t count, std::mt19937& random) {
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < count; ++i) {
    if (random() % 2 == 0) kept.push_back(i);
  }
  if (kept.empty()) kept.push_back(static_cast<std::int64_t>(random()) % count);
  return kept;
}

/// Some groups, and as many random query heads of each.
KeptHeads some_heads(const BlockShape& shape, std::mt19937& random) {
  const std::int64_t per_group = shape.num_attention_heads / shape.num_key_value_heads;
  const auto stay = 1 + static_cast<std::size_t>(random()) % static_cast<std::size_t>(per_group);
  KeptHeads kept{.kv_groups = some_of(shape.num_key_value_heads, random), .query_heads = {}};
  for (const std::int64_t group : kept.kv_groups) {
    std::vector<std::int64_t> heads(static_cast<std::size_t>(per_group));
    std::iota(heads.begin(), heads.end(), group * per_group);
    std::shuffle(heads.begin(), heads.end(), random);
    heads.resize(stay);
    std::sort(heads.begin(), heads.end());
    kept.query_heads.insert(kept.query_heads.end(), heads.begin(), heads.end());
  }
  return kept;
}

/// Zeros in the columns of the parts that are gone.
void silence(at::Tensor& output, const std::vector<std::int64_t>& kept, std::int64_t width) {
  at::Tensor mask = at::zeros({output.size(1) / width, width});
  for (const std::int64_t unit : kept) mask[unit].fill_(1);
  output = output * mask.flatten();
}

at::Tensor run(const BlockWeights& block, const at::Tensor& hidden) {
  return block_forward(block, test_rotary_table(kHeadDim, kLength), hidden, {});
}

TEST_CASE("a block without some parts is the block with these parts silenced",
          "[prune][property]") {
  const auto shape = GENERATE(
      BlockShape{.num_attention_heads = 8, .num_key_value_heads = 4, .intermediate_size = 33},
      BlockShape{.num_attention_heads = 6, .num_key_value_heads = 2, .intermediate_size = 50},
      BlockShape{.num_attention_heads = 5, .num_key_value_heads = 5, .intermediate_size = 17},
      BlockShape{.num_attention_heads = 4, .num_key_value_heads = 1, .intermediate_size = 64});
  const auto seed = GENERATE(range(0U, 6U));
  std::mt19937 random(seed);
  const std::int64_t hidden_size = 24 + 4 * static_cast<std::int64_t>(seed);
  BlockWeights block = random_block(shape, hidden_size, kHeadDim, seed);
  for (const LinearKind kind : kLinearKinds) {
    if (seed % 2 == 0) block.bias(kind) = at::randn({block.weight(kind).size(0)});
  }
  const KeptParts kept{.heads = some_heads(shape, random),
                       .channels = some_of(shape.intermediate_size, random)};
  BlockWeights silent = block;
  silence(silent.weight(LinearKind::O), kept.heads.query_heads, kHeadDim);
  silence(silent.weight(LinearKind::Down), kept.channels, 1);

  const BlockWeights cut = cut_block(block, kept);
  const auto groups = static_cast<std::int64_t>(kept.heads.kv_groups.size());
  CHECK(cut.shape.num_key_value_heads == groups);
  CHECK(cut.weight(LinearKind::Q).size(0) == cut.shape.num_attention_heads * kHeadDim);
  CHECK(cut.weight(LinearKind::Up).size(0) == static_cast<std::int64_t>(kept.channels.size()));
  const at::Tensor hidden = at::randn({2, kLength, hidden_size});
  const at::Tensor expected = run(silent, hidden);
  // Sums of at most 64 products of size 1, in another order.
  CHECK((run(cut, hidden) - expected).abs().max().item<double>() <
        1e-5 * expected.abs().max().item<double>());
  if (groups < shape.num_key_value_heads) CHECK_FALSE(at::allclose(run(block, hidden), expected));
}

/// Calibration tokens of a model whose hidden states have drifted from the dense one's.
struct Drifted {
  BlockWeights block =
      random_block({.num_attention_heads = 4, .num_key_value_heads = 4, .intermediate_size = 40},
                   24, kHeadDim, 9);
  RotaryTable rotary = test_rotary_table(kHeadDim, 64);
  HiddenStates dense{40, 64, 24, {}};
  HiddenStates drifted{40, 64, 24, {}};

  Drifted() {
    dense.windows(0, 40).copy_(at::randn({40, 64, 24}));
    const at::Tensor mix = at::eye(24) + 0.15 * at::randn({24, 24});
    drifted.windows(0, 40).copy_(at::matmul(dense.windows(0, 40), mix));
  }

  double distance(const StructuredCut& cut, const CutWidths& widths) {
    SequentialBlock tokens(drifted, rotary, {}, {});
    DenseReference reference(dense, block, rotary, {}, {});
    const CutResult result =
        prune_block(block, {.block = &tokens, .dense = &reference}, cut, widths, DType::F32);
    CHECK(result.fallbacks.empty());
    CHECK(result.block.shape.num_key_value_heads == widths.num_key_value_heads);
    const at::Tensor wanted = block_forward(block, rotary, dense.windows(0, 40), {});
    const at::Tensor found = block_forward(result.block, rotary, drifted.windows(0, 40), {});
    return (found - wanted).norm().item<double>() / wanted.norm().item<double>();
  }
};

TEST_CASE(
    "a repair for the dense model's hidden states comes nearer to them than one for the layer",
    "[prune]") {
  const auto score =
      GENERATE(StructuredScore{ActivationScore{}}, StructuredScore{OutputErrorScore{}},
               StructuredScore{FluctuationScore{}}, StructuredScore{RandomScore{.seed = 3}});
  Drifted model;
  const CutWidths widths{.num_key_value_heads = 3, .intermediate_size = 32};
  const double none = model.distance({.score = score, .repair = CutRepair::None}, widths);
  const double layer = model.distance({.score = score, .repair = CutRepair::LeastSquares}, widths);
  const double dense = model.distance({.score = score, .repair = CutRepair::DenseOutputs}, widths);
  CAPTURE(none, layer, dense);
  if (!std::holds_alternative<OutputErrorScore>(score)) CHECK(layer < none);
  CHECK(dense < 0.9 * layer);
}

TEST_CASE("as many query heads of every KV group go, those that matter least", "[prune]") {
  const auto score =
      GENERATE(StructuredScore{ActivationScore{}}, StructuredScore{OutputErrorScore{}},
               StructuredScore{MagnitudeScore{}});
  constexpr BlockShape kShape{
      .num_attention_heads = 6, .num_key_value_heads = 2, .intermediate_size = 20};
  BlockWeights block = random_block(kShape, 24, kHeadDim, 5);
  // Two heads of the same group hardly reach the output: only the less of them may go.
  block.weight(LinearKind::O).narrow(1, 1 * kHeadDim, kHeadDim).mul_(0.01);
  block.weight(LinearKind::O).narrow(1, 2 * kHeadDim, kHeadDim).mul_(0.05);
  block.weight(LinearKind::O).narrow(1, 3 * kHeadDim, kHeadDim).mul_(0.5);
  block.weight(LinearKind::Q).narrow(0, 1 * kHeadDim, kHeadDim).mul_(0.1);
  block.weight(LinearKind::Q).narrow(0, 3 * kHeadDim, kHeadDim).mul_(0.1);
  const RotaryTable rotary = test_rotary_table(kHeadDim, 64);
  HiddenStates states(10, 64, 24, {});
  states.windows(0, 10).copy_(at::randn({10, 64, 24}));
  SequentialBlock tokens(states, rotary, {}, {});
  const CutResult result = prune_block(
      block, {.block = &tokens, .dense = nullptr}, {.score = score},
      {.num_key_value_heads = 2, .intermediate_size = 20, .queries_removed = 1}, DType::F32);
  CHECK(result.block.shape.num_attention_heads == 4);
  CHECK(result.block.shape.num_key_value_heads == 2);
  const at::Tensor expected =
      block.weight(LinearKind::Q)
          .view({6, kHeadDim, 24})
          .index_select(0, at::tensor(std::vector<std::int64_t>{0, 2, 4, 5}, at::kLong));
  CHECK(at::equal(result.block.weight(LinearKind::Q), expected.flatten(0, 1)));
  CHECK(at::equal(result.block.weight(LinearKind::K), block.weight(LinearKind::K)));
}

TEST_CASE("listed heads go, whatever their scores", "[prune]") {
  Drifted model;
  const CutWidths widths{.num_key_value_heads = 3,
                         .intermediate_size = 40,
                         .queries_removed = 0,
                         .heads_to_prune = {2}};
  SequentialBlock tokens(model.drifted, model.rotary, {}, {});
  const CutResult result = prune_block(
      model.block, {.block = &tokens, .dense = nullptr},
      {.score = ActivationScore{}, .repair = CutRepair::LeastSquares}, widths, DType::F32);
  const at::Tensor kept =
      model.block.weight(LinearKind::K)
          .view({4, kHeadDim, 24})
          .index_select(0, at::tensor(std::vector<std::int64_t>{0, 1, 3}, at::kLong));
  CHECK(at::equal(result.block.weight(LinearKind::K), kept.flatten(0, 1)));
  CHECK(result.fallbacks.empty());
}

}  // namespace
}  // namespace edgecompress
