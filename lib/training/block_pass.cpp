#include "training/block_pass.h"

#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

// Of a token's squared length: all-zero states have no direction.
constexpr double kShortest = 1e-12;

}  // namespace

BlockPass::BlockPass(TrainedWeights weights, const RotaryTable& rotary, BlockExamples examples,
                     at::Device device)
    : weights_(std::move(weights)), rotary_(rotary), examples_(examples), device_(device) {
  ensure(examples.inputs.count() == examples.targets.count() &&
             examples.inputs.length() == examples.targets.length() &&
             examples.inputs.hidden_size() == examples.targets.hidden_size(),
         "a target for every input of a block");
}

std::int64_t BlockPass::tokens(WindowIndices windows) const {
  std::int64_t sum = 0;
  for (const std::int64_t window : windows) sum += examples_.inputs.tokens_of(window);
  return sum;
}

double BlockPass::Distance::sum() const {
  return ordered_sum((difference.square().sum(-1, /*keepdim=*/true) * weights).cpu());
}

BlockPass::Distance BlockPass::distance(const at::Tensor& output, WindowIndices windows) {
  const at::Tensor target = gathered_windows(examples_.targets, windows, device_);
  at::Tensor weights = target.square().sum(-1, /*keepdim=*/true).clamp_min(kShortest).reciprocal();
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    weights[row].slice(0, examples_.inputs.tokens_of(windows[i])).zero_();
  }
  return {.difference = output.detach() - target, .weights = weights};
}

double BlockPass::loss(WindowIndices windows) {
  const at::NoGradGuard no_grad;
  const BlockWeights weights = weights_();
  const double sum = sum_over_pieces(windows, examples_.inputs.length(), [&](WindowIndices piece) {
    const at::Tensor input = gathered_windows(examples_.inputs, piece, device_);
    return distance(block_forward(weights, rotary_, input, {}), piece).sum();
  });
  return sum / static_cast<double>(tokens(windows));
}

double BlockPass::add_gradients(WindowIndices windows) {
  const auto count = static_cast<double>(tokens(windows));
  const double sum = sum_over_pieces(windows, examples_.inputs.length(), [&](WindowIndices piece) {
    const at::Tensor input = gathered_windows(examples_.inputs, piece, device_);
    const at::Tensor output = block_forward(weights_(), rotary_, input, {});
    const Distance found = distance(output, piece);
    output.backward(found.difference * found.weights * (2 / count));
    const at::NoGradGuard no_grad;
    return found.sum();
  });
  return sum / count;
}

TrainingObjective block_objective(BlockPass& pass, std::function<void()> settle) {
  return {.loss = [&pass](WindowIndices windows) { return pass.loss(windows); },
          .add_gradients = [&pass](WindowIndices windows) { return pass.add_gradients(windows); },
          .settle = std::move(settle)};
}

}  // namespace edgecompress
