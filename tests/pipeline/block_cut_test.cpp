#include "pipeline/block_cut.h"

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
  const KeptParts kept{.kv_groups = some_of(shape.num_key_value_heads, random),
                       .channels = some_of(shape.intermediate_size, random)};
  BlockWeights silent = block;
  silence(silent.weight(LinearKind::O), kept.kv_groups,
          kHeadDim * shape.num_attention_heads / shape.num_key_value_heads);
  silence(silent.weight(LinearKind::Down), kept.channels, 1);

  const BlockWeights cut = cut_block(block, kept);
  const auto groups = static_cast<std::int64_t>(kept.kv_groups.size());
  CHECK(cut.shape.num_key_value_heads == groups);
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

}  // namespace
}  // namespace edgecompress
