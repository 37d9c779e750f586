#include "training/end_to_end.h"

#include <ATen/Parallel.h>

#include "decoder/block_forward.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kLength = 40;
constexpr std::int64_t kWindows = 3;

/// mini-llama with token windows of our own making.
struct Setup {
  ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  TokenWindows windows;
  std::unique_ptr<HiddenStates> embedded;
  TrainingOptions options{.part = TrainedPart::Weights};

  Setup() {
    windows.count = kWindows;
    windows.length = kLength;
    for (std::int32_t i = 0; i < kWindows * kLength; ++i) {
      windows.ids.push_back(i * i * 7 % 1999);
    }
    embedded = std::make_unique<HiddenStates>(windows, model.matrix(kEmbeddingModule),
                                              HiddenStateStorage{});
  }

  TrainedModel trained() const {
    return TrainedModel({.model = model, .dense = nullptr, .target = {}, .num_threads = 1},
                        options);
  }
  TrainingData data() { return {.windows = windows, .embedded = *embedded, .teacher_logits = {}}; }
};

const std::vector<std::int64_t> kChosen{2, 0};

/// Loss and gradients of all parameters.
std::pair<double, std::vector<at::Tensor>> gradients(Setup& setup) {
  const TrainedModel model = setup.trained();
  TrainingData data = setup.data();
  EndToEndPass pass(model, data, TrainingLoss::CrossEntropy);
  const double loss = pass.add_gradients(kChosen);
  CHECK(pass.loss(kChosen) == loss);
  std::vector<at::Tensor> found;
  for (const Parameter& parameter : model.parameters()) found.push_back(parameter.value.grad());
  return {loss, found};
}

TEST_CASE("gradients block by block are those of the whole graph", "[training]") {
  Setup setup;
  const auto [loss, found] = gradients(setup);

  const TrainedModel model = setup.trained();
  const RotaryTable rotary = make_rotary_table(setup.model.config(), kLength, at::kCPU);
  at::Tensor sum = at::zeros({});
  for (const std::int64_t window : kChosen) {
    at::Tensor hidden = setup.embedded->windows(window, window + 1);
    for (std::int64_t block = 0; block < model.num_blocks(); ++block) {
      hidden = block_forward(model.block(block).weights(), rotary, hidden, {});
    }
    const at::Tensor normed =
        rms_norm(hidden, model.final_norm(), setup.model.config().rms_norm_eps);
    const at::Tensor logits = at::linear(normed[0], model.head()).narrow(0, 0, kLength - 1);
    const auto ids = setup.windows.window(window);
    const std::vector<std::int64_t> targets(ids.begin() + 1, ids.end());
    sum = sum -
          at::log_softmax(logits, -1).gather(1, at::tensor(targets, at::kLong).unsqueeze(1)).sum();
  }
  const at::Tensor mean = sum / static_cast<double>(2 * (kLength - 1));
  mean.backward();
  CHECK(std::abs(loss - mean.item<double>()) < 1e-5);
  const std::vector<Parameter> parameters = model.parameters();
  REQUIRE(parameters.size() == found.size());
  CHECK(found.size() == 4 * (7 + 2) + 1);
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    const at::Tensor& whole = parameters[i].value.grad();
    const double scale = whole.abs().max().item<double>();
    CHECK(scale > 0);
    // the two add up the same float products in other orders
    CHECK((found[i] - whole).abs().max().item<double>() < 1e-4 * scale);
  }
}

TEST_CASE("loss and gradients are the same bytes for any number of threads", "[training]") {
  Setup setup;
  const auto [loss, one] = gradients(setup);
  for (const int threads : {3}) {
    at::set_num_threads(threads);
    const auto [other_loss, other] = gradients(setup);
    CHECK(other_loss == loss);
    for (std::size_t i = 0; i < one.size(); ++i) {
      CAPTURE(threads, i);
      CHECK(other[i].equal(one[i]));
    }
  }
  at::set_num_threads(1);
}

}  // namespace
}  // namespace edgecompress
