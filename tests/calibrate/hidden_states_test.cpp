#include "calibrate/hidden_states.h"

#include "calibrate/input_norms.h"
#include "support/catch.h"
#include "support/random_block.h"
#include <ATen/Parallel.h>

#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHidden = 16;
const BlockShape kShape{.num_attention_heads = 2, .num_key_value_heads = 1, .intermediate_size = 24};

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
  const TokenWindows windows = some_windows(5, 2100);  // one window fills a piece of about 4096 tokens
  const BlockWeights block = random_block(kShape, kHidden, 8, 4);
  const RotaryTable rotary = test_rotary_table(8, 2100);
  HiddenStates in_memory(windows, some_embedding(), {});
  HiddenStates in_file(windows, some_embedding(), {.memory_limit_bytes = 1, .spill_folder = {}});
  advance(in_memory, block, rotary, {});
  advance(in_file, block, rotary, {});
  CHECK(in_memory.windows(0, 5).equal(in_file.windows(0, 5)));
  CHECK_FALSE(in_memory.windows(0, 5).equal(HiddenStates(windows, some_embedding(), {}).windows(0, 5)));
}

TEST_CASE("results are the same bytes for any number of threads", "[calibrate][property]") {
  const TokenWindows windows = some_windows(6, 700);
  const BlockWeights block = random_block(kShape, kHidden, 8, 5);
  const RotaryTable rotary = test_rotary_table(8, 700);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    HiddenStates states(windows, some_embedding(), {});
    const InputNorms norms = measure_input_norms(states, block, rotary, {});
    advance(states, block, rotary, {});
    at::set_num_threads(1);
    return std::pair{states.windows(0, 6).clone(), norms};
  };
  const auto [one, one_norms] = run(1);
  for (const int threads : {2, 3}) {
    const auto [other, other_norms] = run(threads);
    CHECK(one.equal(other));
    for (const InputGroup group : kInputGroups) {
      CHECK(one_norms.of(group).equal(other_norms.of(group)));
    }
  }
}

TEST_CASE("input norms are the columns' norms over all tokens", "[calibrate]") {
  const TokenWindows windows = some_windows(3, 40);
  const BlockWeights block = random_block(kShape, kHidden, 8, 6);
  const RotaryTable rotary = test_rotary_table(8, 40);
  HiddenStates states(windows, some_embedding(), {});
  const at::Tensor input =
      rms_norm(states.windows(0, 3), block.input_norm, block.rms_norm_eps).flatten(0, 1);
  const at::Tensor expected = input.square().sum(0).sqrt();
  const InputNorms norms = measure_input_norms(states, block, rotary, {});
  CHECK((norms.of(InputGroup::QKV) - expected).abs().max().item<double>() < 1e-4);
  CHECK(norms.of(InputGroup::Down).size(0) == 24);
}

}  // namespace
}  // namespace edgecompress
