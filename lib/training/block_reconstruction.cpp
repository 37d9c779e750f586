#include "training/block_reconstruction.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "decoder/block_forward.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

// A token whose wanted state is this short (of the sum of squares) counts as if it were longer.
constexpr double kLeastEnergy = 1e-12;

class BlockTrainer {
 public:
  BlockTrainer(const BlockWeights& start, const ReconstructionStates& states,
               const BlockCompute& compute)
      : block_(start), states_(states), compute_(compute) {
    ensure(states.inputs.count() == states.wanted.count(), "a wanted output for every input");
    for (at::Tensor& weight : block_.weights) {
      weight = weight.to(compute.target.device).clone().requires_grad_();
    }
  }

  std::vector<Parameter> parameters(double learning_rate) const {
    std::vector<Parameter> all;
    for (const at::Tensor& weight : block_.weights) all.push_back({weight, learning_rate});
    return all;
  }

  double loss(WindowIndices windows) {
    const at::NoGradGuard no_grad;
    return sum_over_pieces(windows, [](const at::Tensor&) {});
  }

  double add_gradients(WindowIndices windows) {
    return sum_over_pieces(windows, [](const at::Tensor& share) { share.backward(); });
  }

  BlockWeights trained() const {
    BlockWeights block = block_;
    for (at::Tensor& weight : block.weights) weight = weight.detach().cpu();
    return block;
  }

 private:
  /// Mean over all tokens; each piece's share of it is shown while it can be differentiated.
  template <typename Body>
  double sum_over_pieces(WindowIndices windows, const Body& body) {
    const std::int64_t tokens = static_cast<std::int64_t>(windows.size()) * states_.inputs.length();
    const auto step = static_cast<std::size_t>(windows_at_once(states_.inputs.length()));
    double sum = 0;
    for (std::size_t begin = 0; begin < windows.size(); begin += step) {
      const WindowIndices piece = windows.subspan(begin, std::min(step, windows.size() - begin));
      const at::Tensor errors = token_errors(piece);
      body(errors.sum() / static_cast<double>(tokens));
      sum += ordered_sum(errors.detach().cpu().to(at::kDouble));
    }
    return sum / static_cast<double>(tokens);
  }

  /// ||y - wanted||^2 / ||wanted||^2 of each token, [windows, length].
  at::Tensor token_errors(WindowIndices windows) {
    const at::Tensor wanted = gathered(states_.wanted, windows);
    const at::Tensor energy = wanted.square().sum(-1).clamp_min(kLeastEnergy);
    const at::Tensor found = block_forward(to_target(block_, compute_.target), compute_.rotary,
                                           gathered(states_.inputs, windows), {});
    return (found - wanted).square().sum(-1) / energy;
  }

  at::Tensor gathered(HiddenStates& states, WindowIndices windows) const {
    std::vector<at::Tensor> rows;
    for (const std::int64_t window : windows) rows.push_back(states.windows(window, window + 1));
    const at::Tensor together = at::cat(rows).to(compute_.target.device);
    for (const std::int64_t window : windows) states.release(window, window + 1);
    return together;
  }

  BlockWeights block_;
  const ReconstructionStates& states_;
  const BlockCompute& compute_;
};

}  // namespace

Reconstruction reconstruct_block(const BlockWeights& start, const ReconstructionStates& states,
                                 const BlockCompute& compute,
                                 const ReconstructionOptions& options) {
  BlockTrainer trainer(start, states, compute);
  const TrainingOptions training{.epochs = options.epochs,
                                 .batch = options.batch,
                                 .learning_rate = options.learning_rate,
                                 .seed = options.seed};
  const TrainingReport report =
      train(trainer.parameters(options.learning_rate),
            {.loss = [&](WindowIndices windows) { return trainer.loss(windows); },
             .add_gradients = [&](WindowIndices windows) { return trainer.add_gradients(windows); },
             .settle = [] {}},
            split_windows(states.inputs.count(), training.held_out_share), states.inputs.length(),
            training, {});
  return {.block = trainer.trained(),
          .error_before = report.held_out_loss_before,
          .error_after = report.held_out_loss_after};
}

}  // namespace edgecompress
