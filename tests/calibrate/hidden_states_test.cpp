#include "calibrate/hidden_states.h"

#include <limits>

#include <ATen/Parallel.h>

#include "calibrate/layer_inputs.h"
#include "support/catch.h"
#include "support/random_block.h"
#include "support/refusal.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHidden = 16;
const BlockShape kShape{
    .num_attention_heads = 2, .num_key_value_heads = 1, .intermediate_size = 24};

TokenWindows some_windows(std::int64_t count, std::int64_t length) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count * length; ++i) {
    ids.push_back(static_cast<std::int32_t>(i * 7 % 13));
  }
  return cut_windows(ids, {.length = length, .max_count = {}}, "test");
}

at::Tensor some_embedding() {
  at::manual_seed(3);
  return at::randn({13, kHidden});
}

TEST_CASE("states start as the embeddings of their tokens", "[calibrate]") {
  const TokenWindows windows = some_windows(3, 5);
  const at::Tensor embedding = some_embedding();
  HiddenStates states(windows, embedding, {});
  REQUIRE(states.count() == 3);
  for (std::int64_t window = 0; window < 3; ++window) {
    for (std::int64_t i = 0; i < 5; ++i) {
      const std::int64_t id = windows.window(window)[static_cast<std::size_t>(i)];
      CHECK(states.windows(window, window + 1)[0][i].equal(embedding[id]));
    }
  }
}

TEST_CASE("states in a file are the states in memory", "[calibrate]") {
  const TokenWindows windows =
      some_windows(5, 2100);  // one window fills a piece of about 2048 tokens
  const BlockWeights block = random_block(kShape, kHidden, 8, 4);
  const RotaryTable rotary = test_rotary_table(8, 2100);
  HiddenStates in_memory(windows, some_embedding(), {});
  HiddenStates in_file(windows, some_embedding(), {.memory_limit_bytes = 1, .spill_folder = {}});
  advance(in_memory, block, rotary, {});
  advance(in_file, block, rotary, {});
  CHECK(in_memory.windows(0, 5).equal(in_file.windows(0, 5)));
  CHECK_FALSE(
      in_memory.windows(0, 5).equal(HiddenStates(windows, some_embedding(), {}).windows(0, 5)));
}

TEST_CASE("results are the same bytes for any number of threads", "[calibrate][property]") {
  const TokenWindows windows = some_windows(6, 700);
  const BlockWeights block = random_block(kShape, kHidden, 8, 5);
  const RotaryTable rotary = test_rotary_table(8, 700);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    HiddenStates states(windows, some_embedding(), {});
    SequentialBlock tokens(states, rotary, {}, {}, StatesAfter::Advanced);
    std::vector<LayerInputs> inputs;
    for (const InputGroup group : kInputGroups) {
      inputs.push_back(gather_inputs(tokens, group, block, CalibrationNeed::Hessian));
    }
    tokens.finish(block);
    at::set_num_threads(1);
    return std::pair{states.windows(0, 6).clone(), inputs};
  };
  const auto [one, one_inputs] = run(1);
  for (const int threads : {2, 3}) {
    const auto [other, other_inputs] = run(threads);
    CHECK(one.equal(other));
    for (std::size_t i = 0; i < one_inputs.size(); ++i) {
      CHECK(one_inputs[i].norm.equal(other_inputs[i].norm));
      CAPTURE(i, threads);
      CHECK(one_inputs[i].hessian.equal(other_inputs[i].hessian));
    }
  }
}

TEST_CASE("a block shown group by group computes what the whole block computes", "[calibrate]") {
  const TokenWindows windows = some_windows(3, 40);
  const BlockWeights block = random_block(kShape, kHidden, 8, 6);
  const RotaryTable rotary = test_rotary_table(8, 40);
  HiddenStates shown(windows, some_embedding(), {});
  HiddenStates advanced(windows, some_embedding(), {});
  SequentialBlock tokens(shown, rotary, {}, {}, StatesAfter::Advanced);
  std::vector<at::Tensor> seen;
  for (const InputGroup group : kInputGroups) {
    tokens.show(group, block, [&](const at::Tensor& inputs) { seen.push_back(inputs); });
  }
  tokens.finish(block);
  std::vector<at::Tensor> expected;
  observe(advanced, block, rotary, {},
          [&](InputGroup, const at::Tensor& input) { expected.push_back(input.flatten(0, 1)); });
  advance(advanced, block, rotary, {});
  CHECK(shown.windows(0, 3).equal(advanced.windows(0, 3)));
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i].equal(expected[i]));
}

TEST_CASE("states that are kept stay as they are, and a block is finished once", "[calibrate]") {
  const TokenWindows windows = some_windows(3, 40);
  const BlockWeights block = random_block(kShape, kHidden, 8, 6);
  const RotaryTable rotary = test_rotary_table(8, 40);
  HiddenStates states(windows, some_embedding(), {});
  const at::Tensor before = states.windows(0, 3).clone();
  const auto show_all = [&](SequentialBlock& tokens) {
    for (const InputGroup group : kInputGroups) tokens.show(group, block, [](const at::Tensor&) {});
  };
  SequentialBlock kept(states, rotary, {}, {}, StatesAfter::Kept);
  show_all(kept);
  CHECK(states.windows(0, 3).equal(before));
  CHECK_THROWS_AS(kept.finish(block), std::logic_error);
  CHECK(states.windows(0, 3).equal(before));

  SequentialBlock advancing(states, rotary, {}, {}, StatesAfter::Advanced);
  CHECK_THROWS_AS(advancing.finish(block), std::logic_error);  // before anything was shown
  show_all(advancing);
  advancing.finish(block);
  CHECK_FALSE(states.windows(0, 3).equal(before));
  CHECK_THROWS_AS(advancing.finish(block), std::logic_error);
}

TEST_CASE("what down_proj reads is kept where memory holds it and computed again where it does not",
          "[calibrate]") {
  const TokenWindows windows = some_windows(3, 40);
  const BlockWeights block = random_block(kShape, kHidden, 8, 6);
  const RotaryTable rotary = test_rotary_table(8, 40);
  BlockWeights scaled = block;  // as input scales of down_proj are folded
  scaled.weight(LinearKind::Up) = block.weight(LinearKind::Up) / 2;
  const std::uint64_t limit = GENERATE(std::uint64_t{1}, std::uint64_t{1} << 20);
  for (const BlockWeights* const final : {&block, &std::as_const(scaled)}) {
    HiddenStates shown(windows, some_embedding(), {});
    SequentialBlock tokens(shown, rotary, {}, {.memory_limit_bytes = limit, .spill_folder = {}},
                           StatesAfter::Advanced);
    for (const InputGroup group : kInputGroups) tokens.show(group, block, [](const at::Tensor&) {});
    tokens.finish(*final);
    HiddenStates advanced(windows, some_embedding(), {});
    advance(advanced, *final, rotary, {});
    CHECK(shown.windows(0, 3).equal(advanced.windows(0, 3)));
  }
}

TEST_CASE("an activation that is not finite is refused, however much is gathered", "[calibrate]") {
  const TokenWindows windows = some_windows(3, 40);
  BlockWeights block = random_block(kShape, kHidden, 8, 6);
  block.input_norm[2] = std::numeric_limits<float>::infinity();
  const RotaryTable rotary = test_rotary_table(8, 40);
  for (const CalibrationNeed need :
       {CalibrationNeed::Norms, CalibrationNeed::Hessian, CalibrationNeed::Sample}) {
    HiddenStates states(windows, some_embedding(), {});
    SequentialBlock tokens(states, rotary, {}, {});
    const auto refusal = refusal_of([&] { gather_inputs(tokens, InputGroup::QKV, block, need); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->code == "F20");
  }
}

TEST_CASE("a sample is spread evenly over tokens that arrive in pieces", "[calibrate]") {
  constexpr std::int64_t kLong = 900;  // two windows at a time
  const TokenWindows windows = some_windows(4, kLong);
  const BlockWeights block = random_block(kShape, kHidden, 8, 6);
  const RotaryTable rotary = test_rotary_table(8, kLong);
  HiddenStates states(windows, some_embedding(), {});
  const at::Tensor input =
      rms_norm(states.windows(0, 4), block.input_norm, block.rms_norm_eps).flatten(0, 1);
  SequentialBlock tokens(states, rotary, {}, {});
  const LayerInputs inputs = gather_inputs(tokens, InputGroup::QKV, block, CalibrationNeed::Sample);
  CHECK(inputs.sample.size(0) <= 512);
  CHECK(inputs.sample.equal(input.slice(0, 0, std::nullopt, 8)));  // 3600 / 512, rounded up
}

TEST_CASE("input norms and second moments are those of all tokens", "[calibrate]") {
  const TokenWindows windows = some_windows(3, 40);
  const BlockWeights block = random_block(kShape, kHidden, 8, 6);
  const RotaryTable rotary = test_rotary_table(8, 40);
  HiddenStates states(windows, some_embedding(), {});
  const at::Tensor input =
      rms_norm(states.windows(0, 3), block.input_norm, block.rms_norm_eps).flatten(0, 1);
  const at::Tensor moments = at::matmul(input.t(), input).to(at::kDouble) / 120;
  for (const CalibrationNeed need :
       {CalibrationNeed::Norms, CalibrationNeed::Hessian, CalibrationNeed::Sample}) {
    SequentialBlock tokens(states, rotary, {}, {});
    const LayerInputs inputs = gather_inputs(tokens, InputGroup::QKV, block, need);
    const at::Tensor norm = input.square().sum(0).sqrt();
    CHECK((inputs.norm - norm).abs().max().item<double>() < 1e-4);
    CHECK(inputs.hessian.defined() == (need >= CalibrationNeed::Hessian));
    CHECK(inputs.sample.defined() == (need == CalibrationNeed::Sample));
    CHECK(inputs.largest.defined() == (need == CalibrationNeed::Sample));
    if (inputs.sample.defined()) {
      CHECK(inputs.sample.equal(input));  // few enough to be taken all
      CHECK(inputs.largest.equal(input.abs().amax(0)));
    }
    if (inputs.hessian.defined()) {
      CHECK((inputs.hessian - moments).abs().max().item<double>() < 1e-5);
    }
  }
}

}  // namespace
}  // namespace edgecompress
