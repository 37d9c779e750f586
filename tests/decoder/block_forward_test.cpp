#include "decoder/block_forward.h"

#include <ATen/Parallel.h>

#include "support/catch.h"
#include "support/random_block.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHidden = 24;
constexpr std::int64_t kHeadDim = 8;
const BlockShape kShape{
    .num_attention_heads = 4, .num_key_value_heads = 2, .intermediate_size = 20};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST_CASE("a later token changes no earlier output, and does change its own", "[decoder]") {
  const BlockWeights block = random_block(kShape, kHidden, kHeadDim, 1);
  const RotaryTable rotary = test_rotary_table(kHeadDim, 16);
  const at::Tensor hidden = at::randn({1, 10, kHidden});
  at::Tensor changed = hidden.clone();
  changed.select(1, 6) += 1.0;
  const at::Tensor before = block_forward(block, rotary, hidden, {});
  const at::Tensor after = block_forward(block, rotary, changed, {});
  CHECK(largest_difference(before.narrow(1, 0, 6), after.narrow(1, 0, 6)) == 0);
  CHECK(largest_difference(before.narrow(1, 6, 1), after.narrow(1, 6, 1)) > 0.1);
  CHECK(largest_difference(before.narrow(1, 7, 3), after.narrow(1, 7, 3)) > 1e-4);
}

TEST_CASE("the sequences of a batch do not see each other", "[decoder]") {
  const BlockWeights block = random_block(kShape, kHidden, kHeadDim, 2);
  const RotaryTable rotary = test_rotary_table(kHeadDim, 16);
  const at::Tensor hidden = at::randn({3, 7, kHidden});
  const at::Tensor together = block_forward(block, rotary, hidden, {});
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor alone = block_forward(block, rotary, hidden.narrow(0, i, 1), {});
    // products of other sizes may add up in another order: a few float roundings
    CHECK(largest_difference(together.narrow(0, i, 1), alone) < 1e-5);
  }
}

TEST_CASE("attention sees how far apart tokens are, not where they are", "[decoder]") {
  const RotaryTable rotary = test_rotary_table(kHeadDim, 32);
  const at::Tensor q = at::randn({1, 1, 1, kHeadDim});
  const at::Tensor k = at::randn({1, 1, 1, kHeadDim});
  const at::Tensor turned_q = rotate(q.expand({1, 1, 32, kHeadDim}), rotary);
  const at::Tensor turned_k = rotate(k.expand({1, 1, 32, kHeadDim}), rotary);
  const at::Tensor score = at::matmul(turned_q, turned_k.transpose(-1, -2))[0][0];  // [32, 32]
  CHECK(std::abs((score[5][2] - score[25][22]).item<double>()) < 1e-5);
  CHECK(std::abs((score[5][2] - score[5][3]).item<double>()) > 1e-3);
  CHECK(largest_difference(turned_q[0][0][0], q[0][0][0]) == 0);  // position 0 is not turned
}

TEST_CASE("the observer sees the input of each group once, in order", "[decoder]") {
  const BlockWeights block = random_block(kShape, kHidden, kHeadDim, 3);
  const RotaryTable rotary = test_rotary_table(kHeadDim, 16);
  const at::Tensor hidden = at::randn({2, 5, kHidden});
  std::vector<InputGroup> seen;
  std::vector<std::int64_t> widths;
  block_forward(block, rotary, hidden, [&](InputGroup group, const at::Tensor& input) {
    seen.push_back(group);
    widths.push_back(input.size(2));
    if (group == InputGroup::QKV) {
      CHECK(largest_difference(input, rms_norm(hidden, block.input_norm, 1e-5)) == 0);
    }
  });
  CHECK((seen == std::vector(kInputGroups.begin(), kInputGroups.end())));
  CHECK(widths == std::vector<std::int64_t>{kHidden, 32, kHidden, 20});
}

TEST_CASE("a bfloat16 product is that of the rounded factors, rounded", "[decoder]") {
  const BlockWeights block = random_block(kShape, kHidden, kHeadDim, 4);
  const BlockWeights narrow = to_target(block, {.dtype = at::kBFloat16});
  const at::Tensor input = at::randn({2, 5, kHidden});
  for (const LinearKind kind : {LinearKind::Q, LinearKind::V, LinearKind::Up}) {
    const at::Tensor found = linear_output(narrow, kind, input);
    CHECK(found.scalar_type() == at::kFloat);
    const auto rounded = [](const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kDouble); };
    const at::Tensor exact = at::linear(rounded(input), rounded(block.weight(kind)));
    // Rounding to 8 bits moves a result by 2^-8 of itself; float sums of 24 products by far less.
    const at::Tensor bound = exact.abs() * 0x1p-8 * 1.01 + 1e-5;
    CHECK(((found - exact).abs() <= bound).all().item<bool>());
    const at::Tensor in_float = linear_output(block, kind, input);
    CHECK(largest_difference(found, in_float) > 1e-3);  // and it is not the float product
  }
}

TEST_CASE("a block in bfloat16 stays near the block in float", "[decoder]") {
  const BlockWeights block = random_block(kShape, kHidden, kHeadDim, 5);
  const BlockWeights narrow = to_target(block, {.dtype = at::kBFloat16});
  const RotaryTable rotary = test_rotary_table(kHeadDim, 16);
  const at::Tensor hidden = at::randn({2, 9, kHidden});
  const at::Tensor change = block_forward(block, rotary, hidden, {}) - hidden;
  const at::Tensor difference = block_forward(narrow, rotary, hidden, {}) - hidden - change;
  // Each of the 7 products rounds its factors and its result, 2^-8 each at most. Norms keep
  // relative errors, the mix and silu(gate) * up add those of their parts: no path has more than 7
  // products.
  const double relative = (difference.norm() / change.norm()).item<double>();
  CHECK(relative <= 7 * 3 * 0x1p-8);
  CHECK(relative > 0x1p-12);
}

TEST_CASE("the norm divides by the root of the mean square", "[decoder]") {
  const at::Tensor x = at::tensor({3.0F, 4.0F});
  const at::Tensor weight = at::tensor({1.0F, 2.0F});
  const at::Tensor normed = rms_norm(x, weight, 0.5);  // mean square 12.5, plus 0.5
  CHECK(std::abs(normed[0].item<double>() - 3 / std::sqrt(13.0)) < 1e-6);
  CHECK(std::abs(normed[1].item<double>() - 8 / std::sqrt(13.0)) < 1e-6);
}

/// The gradients of sum(output * direction): of the hidden states, then of the weights by kind.
std::vector<at::Tensor> block_gradients(BlockWeights block, const RotaryTable& rotary,
                                        const at::Tensor& hidden, const at::Tensor& direction) {
  const at::Tensor input = hidden.detach().clone().requires_grad_();
  for (at::Tensor& weight : block.weights) weight = weight.detach().clone().requires_grad_();
  block_forward(block, rotary, input, {}).backward(direction);
  std::vector<at::Tensor> found{input.grad()};
  for (const at::Tensor& weight : block.weights) found.push_back(weight.grad());
  return found;
}

TEST_CASE("a block's gradients are its output's change", "[decoder]") {
  const BlockWeights block = random_block(kShape, kHidden, kHeadDim, 7);
  const RotaryTable rotary = test_rotary_table(kHeadDim, 16);
  const at::Tensor hidden = at::randn({2, 9, kHidden});
  const at::Tensor direction = at::randn({2, 9, kHidden});
  const std::vector<at::Tensor> found = block_gradients(block, rotary, hidden, direction);
  REQUIRE(found.size() == kLinearKinds.size() + 1);
  const auto score = [&](const BlockWeights& weights, const at::Tensor& input) {
    return (block_forward(weights, rotary, input, {}).to(at::kDouble) * direction)
        .sum()
        .item<double>();
  };
  // Along a random direction: the central difference errs by step^2 of the third derivative and
  // by the output's float roundings divided by the step, both below a hundredth here.
  constexpr double kStep = 1e-2;
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    const at::Tensor along = at::randn(found[i].sizes()) / std::sqrt(found[i].numel());
    const auto moved = [&](double step) {
      BlockWeights changed = block;
      if (i > 0) changed.weights[i - 1] = block.weights[i - 1] + along * step;
      return score(changed, i == 0 ? hidden + along * step : hidden);
    };
    const double difference = (moved(kStep) - moved(-kStep)) / (2 * kStep);
    const double derivative = (found[i].to(at::kDouble) * along).sum().item<double>();
    CHECK(std::abs(difference - derivative) < 0.01 * (1 + std::abs(derivative)));
    CHECK(std::abs(derivative) > 1e-3);
  }
}

TEST_CASE("a block's gradients are the same bytes for any number of threads", "[decoder]") {
  const BlockShape shape{
      .num_attention_heads = 6, .num_key_value_heads = 2, .intermediate_size = 200};
  const BlockWeights block = random_block(shape, 96, 16, 8);
  const RotaryTable rotary = test_rotary_table(16, 600);
  const at::Tensor hidden = at::randn({3, 530, 96});  // long enough to be shared among threads
  const at::Tensor direction = at::randn({3, 530, 96});
  const std::vector<at::Tensor> one = block_gradients(block, rotary, hidden, direction);
  for (const int threads : {2, 3, 5}) {
    at::set_num_threads(threads);
    const std::vector<at::Tensor> other = block_gradients(block, rotary, hidden, direction);
    for (std::size_t i = 0; i < one.size(); ++i) {
      CAPTURE(threads, i);
      CHECK(other[i].equal(one[i]));
    }
  }
  at::set_num_threads(1);
}

}  // namespace
}  // namespace edgecompress
