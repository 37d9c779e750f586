#include "training/end_to_end.h"

#include <vector>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "decoder/block_forward.h"
#include "decoder/round_activations.h"
#include "tensor/aten.h"
#include "tensor/linear.h"
#include "training/window_loss.h"

namespace edgecompress {

EndToEndPass::EndToEndPass(const TrainedModel& model, TrainingData& data, TrainingLoss loss)
    : model_(model),
      data_(data),
      loss_(loss),
      rotary_(make_rotary_table(model.config(), data.windows.length, model.target().device)) {
  ensure(loss == TrainingLoss::CrossEntropy || data.teacher_logits, "a teacher for its divergence");
}

at::Tensor EndToEndPass::embedded(WindowIndices windows) {
  return gathered_windows(data_.embedded, windows, model_.target().device);
}

/// How many tokens are predicted.
double EndToEndPass::predicted(WindowIndices windows) const {
  return static_cast<double>(static_cast<std::int64_t>(windows.size()) *
                             (data_.windows.length - 1));
}

at::Tensor EndToEndPass::logits_of(const at::Tensor& normed) const {
  const at::Tensor read = round_activations(normed.unsqueeze(0), model_.head_activation());
  return at::linear(read.squeeze(0), model_.head());
}

/// The summed loss of normed hidden states; with `gradient` also its gradient in them.
double EndToEndPass::head_loss(const at::Tensor& normed, WindowIndices windows,
                               at::Tensor* gradient) {
  const at::NoGradGuard no_grad;
  double sum = 0;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    const at::Tensor teacher =
        loss_ == TrainingLoss::Divergence ? data_.teacher_logits(windows[i]) : at::Tensor();
    const WindowLoss loss(loss_, logits_of(normed[row]), data_.windows.window(windows[i]), teacher);
    sum += loss.sum();
    if (gradient != nullptr) {
      (*gradient)[row].copy_(stable_product(loss.gradient(), model_.head()));
    }
  }
  return sum;
}

double EndToEndPass::loss(WindowIndices windows) {
  const at::NoGradGuard no_grad;
  const auto sum_of_piece = [&](WindowIndices piece) {
    at::Tensor states = embedded(piece);
    for (std::int64_t block = 0; block < model_.num_blocks(); ++block) {
      states = block_forward(model_.block(block).weights(), rotary_, states, {});
    }
    return head_loss(rms_norm(states, model_.final_norm(), model_.config().rms_norm_eps), piece,
                     nullptr);
  };
  return sum_over_pieces(windows, data_.windows.length, sum_of_piece) / predicted(windows);
}

double EndToEndPass::add_gradients(WindowIndices windows) {
  const double share = 1 / predicted(windows);
  const auto sum_of_piece = [&](WindowIndices piece) { return add_piece(piece, share); };
  return sum_over_pieces(windows, data_.windows.length, sum_of_piece) / predicted(windows);
}

double EndToEndPass::add_piece(WindowIndices windows, double share) {
  std::vector<at::Tensor> inputs{embedded(windows)};  // of each block, then of the final norm
  for (std::int64_t block = 0; block < model_.num_blocks(); ++block) {
    const at::NoGradGuard no_grad;
    inputs.push_back(block_forward(model_.block(block).weights(), rotary_, inputs.back(), {}));
  }
  at::Tensor input = inputs.back().requires_grad_();
  const at::Tensor normed = rms_norm(input, model_.final_norm(), model_.config().rms_norm_eps);
  at::Tensor gradient = at::empty(normed.sizes(), normed.options().requires_grad(false));
  const double sum = head_loss(normed.detach(), windows, &gradient);
  normed.backward(gradient.mul_(share));
  for (std::int64_t block = model_.num_blocks() - 1; block >= 0; --block) {
    gradient = input.grad();
    inputs.pop_back();
    input = inputs.back();
    if (block > 0) input.requires_grad_();
    block_forward(model_.block(block).weights(), rotary_, input, {}).backward(gradient);
  }
  return sum;
}

TrainingObjective end_to_end_objective(TrainedModel& model, EndToEndPass& pass) {
  return {.loss = [&pass](WindowIndices windows) { return pass.loss(windows); },
          .add_gradients = [&pass](WindowIndices windows) { return pass.add_gradients(windows); },
          .settle = [&model] { model.settle(); }};
}

}  // namespace edgecompress
