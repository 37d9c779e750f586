#include "pipeline/layer_removal.h"

#include <algorithm>
#include <set>

#include <ATen/Parallel.h>

#include "decoder/language_model_head.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kLength = 32;

TokenWindows some_windows() {
  TokenWindows windows;
  windows.count = 3;
  windows.length = kLength;
  for (std::int64_t i = 0; i < windows.count * kLength; ++i) {
    windows.ids.push_back(static_cast<std::int32_t>(i * i * 13 % 1999));
  }
  windows.lengths = {kLength, 9, kLength};  // the ids behind the ninth stand where padding is
  return windows;
}

/// Mean negative log-likelihood of the model's tokens without some blocks.
double loss_without(const ModelFolder& model, const TokenWindows& windows,
                    const std::set<std::int64_t>& removed) {
  const RotaryTable rotary = make_rotary_table(model.config(), windows.length, at::kCPU);
  const LanguageModelHead head = load_head(model, 1);
  HiddenStates states(windows, model.matrix(kEmbeddingModule), HiddenStateStorage{});
  at::Tensor hidden = states.windows(0, windows.count).clone();
  for (std::int64_t block = 0; block < model.config().num_blocks(); ++block) {
    if (removed.count(block) > 0) continue;
    hidden = block_forward(load_block(model, block, 1), rotary, hidden, {});
  }
  double sum = 0;
  std::int64_t targets = 0;
  for (std::int64_t window = 0; window < windows.count; ++window) {
    const at::Tensor log_p = head_logits(head, hidden[window]).to(at::kDouble).log_softmax(-1);
    for (std::int64_t t = 1; t < windows.lengths[static_cast<std::size_t>(window)]; ++t) {
      sum -= log_p[t - 1][windows.window(window)[static_cast<std::size_t>(t)]].item<double>();
      ++targets;
    }
  }
  return sum / static_cast<double>(targets);
}

TEST_CASE("the block goes without which the perplexity is lowest, then the next", "[pipeline]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  const TokenWindows windows = some_windows();
  std::set<std::int64_t> expected;
  for (std::int64_t count = 1; count < model.config().num_blocks(); ++count) {
    std::int64_t best = 0;
    double lowest = 1e300;
    for (std::int64_t block = 0; block < model.config().num_blocks(); ++block) {
      if (expected.count(block) > 0) continue;
      std::set<std::int64_t> without = expected;
      without.insert(block);
      const double loss = loss_without(model, windows, without);
      if (loss > lowest) continue;
      lowest = loss;
      best = block;
    }
    expected.insert(best);
    CAPTURE(count);
    CHECK(blocks_to_remove(model, windows, count, {}, {}) ==
          std::vector<std::int64_t>(expected.begin(), expected.end()));
  }
}

TEST_CASE("which blocks go does not depend on memory, threads or who watches", "[pipeline]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const std::vector<std::int64_t> one = blocks_to_remove(model, some_windows(), 2, {}, {});
  at::set_num_threads(3);
  std::vector<ProgressEvent> seen;
  const std::vector<std::int64_t> three =
      blocks_to_remove(model, some_windows(), 2,
                       {.target = {}, .storage = {.memory_limit_bytes = 1, .spill_folder = {}}},
                       [&](const ProgressEvent& event) { seen.push_back(event); });
  at::set_num_threads(threads);
  CHECK(one == three);
  REQUIRE(seen.size() == 7);  // of four blocks, then of three
  CHECK(seen.back().done == 7);
  CHECK(seen.back().total == 7);
}

}  // namespace
}  // namespace edgecompress
