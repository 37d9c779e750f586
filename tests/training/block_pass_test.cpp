#include "training/block_pass.h"

#include <memory>

#include <ATen/Parallel.h>

#include "decoder/block_forward.h"
#include "support/catch.h"
#include "tensor/aten.h"
#include "training/trained_block.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kLength = 40;
constexpr std::int64_t kWindows = 3;
const std::vector<std::int64_t> kChosen{2, 0};

/// The first block of mini-llama, on other inputs than its targets were made of.
struct Setup {
  ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  RotaryTable rotary = make_rotary_table(model.config(), kLength, at::kCPU);
  HiddenStates inputs{kWindows, kLength, model.config().hidden_size, HiddenStateStorage{}};
  HiddenStates targets{kWindows, kLength, model.config().hidden_size, HiddenStateStorage{}};
  TrainingOptions options{.part = TrainedPart::Weights};

  Setup() {
    at::manual_seed(7);
    at::Tensor input = inputs.windows(0, kWindows);
    input.copy_(at::randn(input.sizes()));
    at::Tensor target = targets.windows(0, kWindows);
    target.copy_(input + 0.1 * at::randn(input.sizes()));
    target.narrow(1, 0, 1).mul_(100);  // a first token that would drown the others
    advance(targets, load_block(model, 0, 1), rotary, {});
  }

  TrainedBlock trained() const {
    return {
        {.model = model, .dense = nullptr, .target = {}, .num_threads = 1}, 0, DType::F16, options};
  }
};

/// Loss and gradients of all parameters.
std::pair<double, std::vector<at::Tensor>> gradients(Setup& setup) {
  const TrainedBlock block = setup.trained();
  BlockPass pass([&block] { return block.weights(); }, setup.rotary,
                 {.inputs = setup.inputs, .targets = setup.targets}, at::kCPU);
  const double loss = pass.add_gradients(kChosen);
  CHECK(std::abs(pass.loss(kChosen) / loss - 1) < 1e-6);
  std::vector<at::Tensor> found;
  for (const Parameter& parameter : block.parameters(setup.options)) {
    found.push_back(parameter.value.grad());
  }
  return {loss, found};
}

TEST_CASE("a block's loss is the mean over tokens of the squared distance's share", "[training]") {
  Setup setup;
  const auto [loss, found] = gradients(setup);

  const TrainedBlock block = setup.trained();
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (const std::int64_t window : kChosen) {
    const at::Tensor output =
        block_forward(block.weights(), setup.rotary, setup.inputs.windows(window, window + 1), {});
    const at::Tensor target = setup.targets.windows(window, window + 1);
    const at::Tensor shares = (output - target).square().sum(-1) / target.square().sum(-1);
    sum = sum + shares.to(at::kDouble).sum();
  }
  const at::Tensor mean = sum / static_cast<double>(2 * kLength);
  mean.backward();
  CHECK(std::abs(loss / mean.item<double>() - 1) < 1e-6);
  CHECK(loss > 1e-3);
  const std::vector<Parameter> parameters = block.parameters(setup.options);
  REQUIRE(parameters.size() == found.size());
  CHECK(found.size() == 7 + 2);
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    const at::Tensor& whole = parameters[i].value.grad();
    const double scale = whole.abs().max().item<double>();
    CHECK(scale > 0);
    // the two add up the same float products in other orders
    CHECK((found[i] - whole).abs().max().item<double>() < 1e-4 * scale);
  }
}

/// Hidden states before and behind a block.
struct ShortWindows {
  HiddenStates inputs;
  HiddenStates targets;
};

/// The setup's windows, of which each has so many tokens; the rest of a row is padding.
ShortWindows padded(Setup& setup, const std::vector<std::int64_t>& tokens) {
  const std::int64_t width = setup.model.config().hidden_size;
  TokenWindows windows;
  windows.count = kWindows;
  windows.length = kLength;
  windows.ids.resize(kWindows * kLength);
  windows.lengths = tokens;
  HiddenStates inputs(windows, at::full({1, width}, 30.0F), {});
  HiddenStates targets(inputs, width, {});
  targets.windows(0, kWindows).fill_(0.01F);  // an error there would count much
  for (std::int64_t i = 0; i < kWindows; ++i) {
    const std::int64_t count = tokens[static_cast<std::size_t>(i)];
    const auto copy = [&](HiddenStates& to, HiddenStates& from) {
      to.windows(i, i + 1).narrow(1, 0, count).copy_(from.windows(i, i + 1).narrow(1, 0, count));
    };
    copy(inputs, setup.inputs);
    copy(targets, setup.targets);
  }
  return {std::move(inputs), std::move(targets)};
}

/// One of them alone, without padding.
ShortWindows alone(Setup& setup, std::int64_t window, std::int64_t tokens) {
  const auto taken = [&](HiddenStates& from) {
    HiddenStates states(1, tokens, setup.model.config().hidden_size, HiddenStateStorage{});
    states.windows(0, 1).copy_(from.windows(window, window + 1).narrow(1, 0, tokens));
    return states;
  };
  return {taken(setup.inputs), taken(setup.targets)};
}

TEST_CASE("padding changes neither a block's loss nor its gradients", "[training][property]") {
  Setup setup;
  const std::vector<std::int64_t> tokens{kLength, 17, 29};
  const auto gradients_of = [&](ShortWindows windows, const std::vector<std::int64_t>& chosen) {
    const TrainedBlock block = setup.trained();
    BlockPass pass([&block] { return block.weights(); }, setup.rotary,
                   {.inputs = windows.inputs, .targets = windows.targets}, at::kCPU);
    const double loss = pass.add_gradients(chosen);
    CHECK(pass.loss(chosen) == Approx(loss).epsilon(1e-6));
    std::vector<at::Tensor> found;
    for (const Parameter& parameter : block.parameters(setup.options)) {
      found.push_back(parameter.value.grad().to(at::kDouble));
    }
    return std::pair(loss, found);
  };
  const auto [loss, found] = gradients_of(padded(setup, tokens), {0, 1, 2});

  const auto all = static_cast<double>(kLength + 17 + 29);
  double mean = 0;
  std::vector<at::Tensor> expected;
  for (std::int64_t window = 0; window < kWindows; ++window) {
    const std::int64_t count = tokens[static_cast<std::size_t>(window)];
    const double share = static_cast<double>(count) / all;
    const auto [own_loss, own] = gradients_of(alone(setup, window, count), {0});
    mean += share * own_loss;
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (window == 0) expected.push_back(at::zeros_like(own[i]));
      expected[i] += share * own[i];
    }
  }
  CHECK(loss == Approx(mean).epsilon(1e-6));
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    const double scale = expected[i].abs().max().item<double>();
    CHECK(scale > 0);
    // the two add up the same float products in other orders
    CHECK((found[i] - expected[i]).abs().max().item<double>() < 1e-4 * scale);
  }
}

TEST_CASE("a trained block comes closer to another block's outputs", "[training]") {
  Setup setup;
  setup.targets.windows(0, kWindows).copy_(setup.inputs.windows(0, kWindows));
  advance(setup.targets, load_block(setup.model, 1, 1), setup.rotary, {});
  TrainedBlock block = setup.trained();
  BlockPass pass([&block] { return block.weights(); }, setup.rotary,
                 {.inputs = setup.inputs, .targets = setup.targets}, at::kCPU);
  setup.options.epochs = 10;
  setup.options.batch = 1;
  setup.options.learning_rate = 1e-3;
  const TrainingReport report =
      train(block.parameters(setup.options), block_objective(pass, [&block] { block.settle(); }),
            {.training = {0, 1}, .held_out = {2}}, kLength, setup.options, {});
  CHECK(report.outcome.kept_step > 0);
  CHECK(report.outcome.held_out_loss_after < report.outcome.held_out_loss_before);
  CHECK(pass.loss(std::vector<std::int64_t>{2}) == report.outcome.held_out_loss_after);
}

TEST_CASE("a block's gradients are the same bytes for any number of threads", "[training]") {
  Setup setup;
  const auto [loss, one] = gradients(setup);
  at::set_num_threads(3);
  const auto [other_loss, other] = gradients(setup);
  at::set_num_threads(1);
  CHECK(other_loss == loss);
  for (std::size_t i = 0; i < one.size(); ++i) {
    CAPTURE(i);
    CHECK(other[i].equal(one[i]));
  }
}

}  // namespace
}  // namespace edgecompress
