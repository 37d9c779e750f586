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
  CHECK(report.kept_step > 0);
  CHECK(report.held_out_loss_after < report.held_out_loss_before);
  CHECK(pass.loss(std::vector<std::int64_t>{2}) == report.held_out_loss_after);
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
