#include "training/block_reconstruction.h"

#include <ATen/Parallel.h>

#include "support/catch.h"
#include "support/random_block.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHeadDim = 16;
constexpr std::int64_t kLength = 64;
constexpr std::int64_t kWindows = 30;
constexpr std::int64_t kHidden = 64;

/// A block and one from which much is missing.
struct Setup {
  BlockWeights dense =
      random_block({.num_attention_heads = 4, .num_key_value_heads = 2, .intermediate_size = 96},
                   kHidden, kHeadDim, 3);
  BlockWeights cut = dense;
  RotaryTable rotary = test_rotary_table(kHeadDim, kLength);
  HiddenStates inputs{kWindows, kLength, kHidden, {}};
  HiddenStates wanted{kWindows, kLength, kHidden, {}};

  Setup() {
    inputs.windows(0, kWindows).copy_(at::randn({kWindows, kLength, kHidden}));
    wanted.windows(0, kWindows)
        .copy_(block_forward(dense, rotary, inputs.windows(0, kWindows), {}));
    const auto narrow = [&](LinearKind kind, std::int64_t dim) {
      cut.weight(kind) = dense.weight(kind).narrow(dim, 0, 80).contiguous();
    };
    narrow(LinearKind::Gate, 0);
    narrow(LinearKind::Up, 0);
    narrow(LinearKind::Down, 1);
    cut.shape.intermediate_size = 80;
  }

  Reconstruction run(const ReconstructionOptions& options) {
    return reconstruct_block(cut, {}, {.inputs = inputs, .targets = wanted},
                             {.rotary = rotary, .target = {}}, options);
  }

  /// Over all tokens.
  double error(const BlockWeights& block) {
    const at::Tensor found = block_forward(block, rotary, inputs.windows(0, kWindows), {});
    const at::Tensor goal = wanted.windows(0, kWindows);
    return ((found - goal).square().sum(-1) / goal.square().sum(-1)).mean().item<double>();
  }
};

TEST_CASE("a reconstructed block comes nearer to the wanted states", "[training]") {
  Setup setup;
  const at::Tensor before = setup.cut.weight(LinearKind::Up).clone();
  const Reconstruction result = setup.run({.epochs = 10, .learning_rate = 1e-3});
  CHECK(result.error_after < result.error_before);
  CHECK(setup.error(result.block) < setup.error(setup.cut));
  CHECK(at::equal(setup.cut.weight(LinearKind::Up), before));  // what was given stays as it was
  for (const at::Tensor& weight : result.block.weights) CHECK_FALSE(weight.requires_grad());
}

TEST_CASE("a reconstruction that makes the block worse changes nothing", "[training]") {
  Setup setup;
  const Reconstruction result = setup.run({.epochs = 1, .learning_rate = 0.9});
  CHECK(result.error_after == result.error_before);
  for (std::size_t i = 0; i < result.block.weights.size(); ++i) {
    CHECK(at::equal(result.block.weights[i], setup.cut.weights[i]));
  }
}

TEST_CASE("what a mask drops stays dropped while the rest is trained", "[training]") {
  Setup setup;
  setup.cut = setup.dense;
  KeptWeights kept;
  for (const LinearKind kind : {LinearKind::Q, LinearKind::Up, LinearKind::Down}) {
    at::Tensor& weight = setup.cut.weight(kind);
    kept[kind] = at::rand(weight.sizes()) < 0.5;
    weight = at::where(kept[kind], weight, 0.0F).contiguous();
  }
  const Reconstruction result = reconstruct_block(
      setup.cut, kept, {.inputs = setup.inputs, .targets = setup.wanted},
      {.rotary = setup.rotary, .target = {}}, {.epochs = 10, .learning_rate = 1e-3});
  CHECK(setup.error(result.block) < setup.error(setup.cut));
  for (const auto& [kind, keep] : kept) {
    const at::Tensor& weight = result.block.weight(kind);
    CHECK(weight.masked_select(keep.logical_not()).eq(0).all().item<bool>());
    CHECK_FALSE(at::equal(weight, setup.cut.weight(kind)));
  }
}

TEST_CASE("a reconstruction is the same for any number of threads", "[training]") {
  Setup setup;
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Reconstruction one = setup.run({.epochs = 2});
  at::set_num_threads(3);
  const Reconstruction three = setup.run({.epochs = 2});
  at::set_num_threads(threads);
  for (std::size_t i = 0; i < one.block.weights.size(); ++i) {
    CHECK(at::equal(one.block.weights[i], three.block.weights[i]));
  }
  const Reconstruction other = setup.run({.epochs = 2, .seed = 7});
  CHECK_FALSE(at::equal(other.block.weights[0], one.block.weights[0]));
}

}  // namespace
}  // namespace edgecompress
