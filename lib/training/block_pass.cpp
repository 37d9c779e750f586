#include "training/block_pass.h"

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "decoder/block_forward.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

constexpr double kShortest =
    1e-12;  // of a token's squared length: all-zero states have no direction

/// The squared length of every token's states, [windows, length, 1].
at::Tensor squared_lengths(const at::Tensor& states) {
  return states.square().sum(-1, /*keepdim=*/true).clamp_min(kShortest);
}

}  // namespace

BlockPass::BlockPass(const TrainedBlock& block, const RotaryTable& rotary, BlockExamples examples,
                     at::Device device)
    : block_(block), rotary_(rotary), examples_(examples), device_(device) {
  ensure(examples.inputs.count() == examples.targets.count() &&
             examples.inputs.length() == examples.targets.length() &&
             examples.inputs.hidden_size() == examples.targets.hidden_size(),
         "a target for every input of a block");
}

std::int64_t BlockPass::tokens(WindowIndices windows) const {
  return static_cast<std::int64_t>(windows.size()) * examples_.inputs.length();
}

BlockPass::Distance BlockPass::distance(const at::Tensor& output, WindowIndices windows) {
  const at::Tensor target = gathered_windows(examples_.targets, windows, device_);
  return {.difference = output.detach() - target, .target = target};
}

double BlockPass::loss(WindowIndices windows) {
  const at::NoGradGuard no_grad;
  const BlockWeights weights = block_.weights();
  const double sum = sum_over_pieces(windows, examples_.inputs.length(), [&](WindowIndices piece) {
    const at::Tensor input = gathered_windows(examples_.inputs, piece, device_);
    const Distance found = distance(block_forward(weights, rotary_, input, {}), piece);
    const at::Tensor shares =
        found.difference.square().sum(-1, /*keepdim=*/true) / squared_lengths(found.target);
    return ordered_sum(shares.cpu());
  });
  return sum / static_cast<double>(tokens(windows));
}

double BlockPass::add_gradients(WindowIndices windows) {
  const auto count = static_cast<double>(tokens(windows));
  const double sum = sum_over_pieces(windows, examples_.inputs.length(), [&](WindowIndices piece) {
    const at::Tensor input = gathered_windows(examples_.inputs, piece, device_);
    const at::Tensor output = block_forward(block_.weights(), rotary_, input, {});
    const Distance found = distance(output, piece);
    const at::Tensor lengths = squared_lengths(found.target);  // [windows, length, 1]
    output.backward(found.difference / lengths * (2 / count));
    const at::NoGradGuard no_grad;
    const at::Tensor shares = found.difference.square().sum(-1, /*keepdim=*/true) / lengths;
    return ordered_sum(shares.cpu());
  });
  return sum / count;
}

TrainingObjective block_objective(TrainedBlock& block, BlockPass& pass) {
  return {.loss = [&pass](WindowIndices windows) { return pass.loss(windows); },
          .add_gradients = [&pass](WindowIndices windows) { return pass.add_gradients(windows); },
          .settle = [&block] { block.settle(); }};
}

}  // namespace edgecompress
