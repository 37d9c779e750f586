#include "pipeline/taylor_scores.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>

#include "decoder/language_model_head.h"
#include "evaluate/model_evaluation.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kLength = 24;

TokenWindows some_windows(std::int64_t count) {
  TokenWindows windows;
  windows.count = count;
  windows.length = kLength;
  for (std::int64_t i = 0; i < count * kLength; ++i) {
    windows.ids.push_back(static_cast<std::int32_t>(i * i * 13 % 1999));
  }
  return windows;
}

TEST_CASE("taylor scores are the squares of what the loss changes to first order", "[pipeline]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  // One token predicts, and it sees itself alone: its score is the square of the whole derivative.
  TokenWindows windows = some_windows(1);
  windows.length = 2;
  windows.ids.resize(2);
  const std::vector<BlockGradients> scores =
      taylor_scores(model, windows, GradientDetail::Outputs, {}, {});
  REQUIRE(scores.size() == 4);
  const auto derivative = [&](std::int64_t block, LinearKind kind, std::int64_t begin,
                              std::int64_t count) {
    constexpr double kStep = 0.05;  // the loss is nearly quadratic within it
    HiddenStates states(windows, model.matrix(kEmbeddingModule), HiddenStateStorage{});
    const RotaryTable rotary = make_rotary_table(model.config(), 2, at::kCPU);
    const LanguageModelHead head = load_head(model, 1);
    const auto loss = [&](double factor) {
      at::Tensor hidden = states.windows(0, 1).clone();
      for (std::int64_t index = 0; index < model.config().num_blocks(); ++index) {
        BlockWeights weights = load_block(model, index, 1);
        if (index == block) weights.weight(kind).narrow(1, begin, count).mul_(factor);
        hidden = block_forward(weights, rotary, hidden, {});
      }
      const at::Tensor log_p =
          head_logits(head, hidden[0]).to(at::kDouble).log_softmax(-1, at::kDouble);
      return -log_p[0][windows.ids[1]].item<double>();
    };
    return (loss(1 + kStep) - loss(1 - kStep)) / (2 * kStep);
  };
  const std::int64_t width = model.config().head_dim;
  for (const std::int64_t block : {0, 3}) {
    const PartScores& found = scores[static_cast<std::size_t>(block)].parts;
    for (const std::size_t group : {0, 3}) {
      const double slope =
          derivative(block, LinearKind::O, static_cast<std::int64_t>(group) * 2 * width, 2 * width);
      CHECK(found.kv_groups[group] == Approx(slope * slope).epsilon(0.05).margin(1e-8));
    }
    const double head = derivative(block, LinearKind::O, 5 * width, width);
    CHECK(found.query_heads[5] == Approx(head * head).epsilon(0.05).margin(1e-8));
    const auto largest = std::max_element(found.channels.begin(), found.channels.end());
    const double channel = derivative(block, LinearKind::Down, largest - found.channels.begin(), 1);
    CHECK(*largest == Approx(channel * channel).epsilon(0.05));
  }
}

TEST_CASE("the loss rises with each layer's outputs as their gradients say", "[pipeline]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  TokenWindows windows = some_windows(1);  // its last token predicts nothing and nobody sees it
  windows.length = 2;
  windows.ids.resize(2);
  const std::vector<BlockGradients> found =
      taylor_scores(model, windows, GradientDetail::Outputs, {}, {});
  const auto slope = [&](LinearId id, std::int64_t output) {
    constexpr float kStep = 0.02F;
    const RotaryTable rotary = make_rotary_table(model.config(), 2, at::kCPU);
    const LanguageModelHead head = load_head(model, 1);
    HiddenStates states(windows, model.matrix(kEmbeddingModule), HiddenStateStorage{});
    const auto loss = [&](float change) {
      at::Tensor hidden = states.windows(0, 1).clone();
      for (std::int64_t index = 0; index < model.config().num_blocks(); ++index) {
        BlockWeights weights = load_block(model, index, 1);
        if (index == id.block) {
          weights.bias(id.kind) = at::zeros({weights.weight(id.kind).size(0)});
          weights.bias(id.kind)[output] = change;
        }
        hidden = block_forward(weights, rotary, hidden, {});
      }
      const at::Tensor log_p =
          head_logits(head, hidden[0]).to(at::kDouble).log_softmax(-1, at::kDouble);
      return -log_p[0][windows.ids[1]].item<double>();
    };
    return (loss(kStep) - loss(-kStep)) / (2.0 * kStep);
  };
  for (const LinearId id : {LinearId{0, LinearKind::V}, LinearId{1, LinearKind::O},
                            LinearId{2, LinearKind::Gate}, LinearId{3, LinearKind::Down}}) {
    const std::vector<double>& squares =
        found[static_cast<std::size_t>(id.block)].outputs[static_cast<std::size_t>(id.kind)];
    const auto largest = std::max_element(squares.begin(), squares.end());
    const double expected = slope(id, largest - squares.begin());
    CAPTURE(id.block);
    CHECK(*largest == Approx(expected * expected / 2).epsilon(0.05));  // the mean of two tokens
  }
}

TEST_CASE("gradients of outputs are gathered when they are asked for, and change no other score",
          "[pipeline]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  const TokenWindows windows = some_windows(2);
  const auto parts = taylor_scores(model, windows, GradientDetail::Parts, {}, {});
  const auto outputs = taylor_scores(model, windows, GradientDetail::Outputs, {}, {});
  for (std::size_t block = 0; block < parts.size(); ++block) {
    CHECK(parts[block].parts.channels == outputs[block].parts.channels);
    for (const std::vector<double>& squares : parts[block].outputs) CHECK(squares.empty());
    for (const std::vector<double>& squares : outputs[block].outputs) CHECK(!squares.empty());
  }
}

TEST_CASE("taylor scores are the same for any number of threads and windows in files",
          "[pipeline]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  const TokenWindows windows = some_windows(3);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const std::vector<BlockGradients> one =
      taylor_scores(model, windows, GradientDetail::Outputs, {}, {});
  at::set_num_threads(3);
  const std::vector<BlockGradients> three =
      taylor_scores(model, windows, GradientDetail::Outputs,
                    {.target = {}, .storage = {.memory_limit_bytes = 1, .spill_folder = {}}}, {});
  at::set_num_threads(threads);
  for (std::size_t block = 0; block < one.size(); ++block) {
    CHECK(one[block].parts.kv_groups == three[block].parts.kv_groups);
    CHECK(one[block].parts.query_heads == three[block].parts.query_heads);
    CHECK(one[block].parts.channels == three[block].parts.channels);
    CHECK(one[block].outputs == three[block].outputs);
  }
}

TEST_CASE("padding changes no taylor score", "[pipeline][property]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  TokenWindows padded = some_windows(3);  // ids of real tokens stand where padding is
  padded.lengths = {kLength, 9, 16};
  const std::vector<BlockGradients> found =
      taylor_scores(model, padded, GradientDetail::Parts, {}, {});
  std::vector<PartScores> expected;
  const auto add = [](std::vector<double>& sums, const std::vector<double>& more) {
    sums.resize(more.size());
    for (std::size_t i = 0; i < more.size(); ++i) sums[i] += more[i];
  };
  for (std::int64_t window = 0; window < padded.count; ++window) {
    TokenWindows alone;
    alone.count = 1;
    alone.length = padded.lengths[static_cast<std::size_t>(window)];
    const auto ids = padded.window(window).first(static_cast<std::size_t>(alone.length));
    alone.ids.assign(ids.begin(), ids.end());
    const std::vector<BlockGradients> own =
        taylor_scores(model, alone, GradientDetail::Parts, {}, {});
    expected.resize(own.size());
    for (std::size_t block = 0; block < own.size(); ++block) {
      add(expected[block].kv_groups, own[block].parts.kv_groups);
      add(expected[block].query_heads, own[block].parts.query_heads);
      add(expected[block].channels, own[block].parts.channels);
    }
  }
  const auto check = [](const std::vector<double>& scores, const std::vector<double>& wanted) {
    REQUIRE(scores.size() == wanted.size());
    const double largest = *std::max_element(wanted.begin(), wanted.end());
    CHECK(largest > 0);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      // float products of other shapes, squared
      CHECK(std::abs(scores[i] - wanted[i]) < 1e-4 * largest);
    }
  };
  REQUIRE(found.size() == expected.size());
  for (std::size_t block = 0; block < found.size(); ++block) {
    CAPTURE(block);
    check(found[block].parts.kv_groups, expected[block].kv_groups);
    check(found[block].parts.query_heads, expected[block].query_heads);
    check(found[block].parts.channels, expected[block].channels);
  }
}

}  // namespace
}  // namespace edgecompress
