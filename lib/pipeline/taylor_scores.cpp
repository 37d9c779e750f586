#include "pipeline/taylor_scores.h"

#include <algorithm>
#include <array>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "calibrate/hidden_states.h"
#include "decoder/block_weights.h"
#include "decoder/language_model_head.h"
#include "tensor/aten.h"
#include "tensor/linear.h"
#include "training/window_loss.h"

namespace edgecompress {
namespace {

std::vector<double> as_doubles(const at::Tensor& values) {
  const at::Tensor contiguous = values.contiguous();
  const double* const first = contiguous.const_data_ptr<double>();
  return {first, first + contiguous.numel()};
}

/// Sums of one block.
class BlockScores {
 public:
  /// mixed, activated: what o_proj and down_proj read, with their gradients.
  void add_parts(const BlockWeights& block, const at::Tensor& mixed, const at::Tensor& activated) {
    const std::int64_t heads = block.shape.num_attention_heads;
    const at::Tensor by_head = contributions(mixed).view({-1, heads, block.head_dim}).sum(-1);
    const at::Tensor by_group =
        by_head.view({-1, block.shape.num_key_value_heads, heads / block.shape.num_key_value_heads})
            .sum(-1);
    add_squares(by_group, groups_);
    add_squares(by_head, heads_);
    add_squares(contributions(activated), channels_);
  }

  /// block: with outputs probed, behind the backward pass.
  void add_outputs(const BlockWeights& block) {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      add_squares(block.biases[i].grad().flatten(0, 1).cpu().to(at::kDouble), outputs_[i]);
    }
  }

  /// num_tokens: those that were added; padding adds nothing.
  BlockGradients gradients(std::int64_t num_tokens) const {
    for (const at::Tensor& sums : {groups_, channels_}) {
      if (at::isfinite(sums).all().item<bool>()) continue;
      throw Error(ErrorKind::Numeric, "F20",
                  "a gradient is not finite; the model or the calibration text makes its loss "
                  "overflow. Choose another score");
    }
    BlockGradients found{.parts = {.kv_groups = as_doubles(groups_),
                                   .query_heads = as_doubles(heads_),
                                   .channels = as_doubles(channels_)},
                         .outputs = {}};
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      if (!outputs_[i].defined()) continue;
      found.outputs[i] = as_doubles(outputs_[i] / static_cast<double>(num_tokens));
    }
    return found;
  }

 private:
  /// x dL/dx, [tokens, features] double.
  static at::Tensor contributions(const at::Tensor& input) {
    return (input.detach() * input.grad()).flatten(0, 1).cpu().to(at::kDouble);
  }

  static void add_squares(const at::Tensor& values, at::Tensor& sums) {
    const at::Tensor squares = values.square().sum(0);
    sums = sums.defined() ? sums + squares : squares;
  }

  at::Tensor groups_, heads_, channels_;
  std::array<at::Tensor, kLinearKinds.size()> outputs_;
};

/// The block with a bias of its own for every token, whose gradient is that of the layer's output.
BlockWeights with_probed_outputs(BlockWeights block, std::int64_t windows, std::int64_t length) {
  for (std::size_t i = 0; i < block.biases.size(); ++i) {
    at::Tensor& bias = block.biases[i];
    const at::Tensor& weight = block.weights[i];
    const std::int64_t outputs = weight.size(0);
    const at::Tensor row = bias.defined() ? bias : at::zeros({outputs}, weight.options());
    bias = row.to(at::kFloat).expand({windows, length, outputs}).clone().requires_grad_();
  }
  return block;
}

class TaylorPass {
 public:
  TaylorPass(const ModelFolder& model, const TokenWindows& text, GradientDetail detail,
             const EvaluationOptions& compute, const Progress& progress)
      : model_(model),
        text_(text),
        detail_(detail),
        compute_(compute),
        progress_(progress),
        rotary_(make_rotary_table(model.config(), text.length, compute.target.device)) {}

  std::vector<BlockGradients> run() {
    walk_forward();
    HiddenStates gradient = gradient_behind_blocks();
    std::vector<BlockGradients> scores(static_cast<std::size_t>(model_.config().num_blocks()));
    for (std::int64_t block = model_.config().num_blocks() - 1; block >= 0; --block) {
      scores[static_cast<std::size_t>(block)] = walk_back(block, gradient);
    }
    return scores;
  }

 private:
  BlockWeights block_at(std::int64_t index) const {
    return to_target(load_block(model_, index, compute_.num_threads), compute_.target);
  }

  void report(std::int64_t done) const {
    if (progress_) progress_({"gradients", done, 2 * model_.config().num_blocks()});
  }

  void walk_forward() {
    const at::NoGradGuard no_grad;
    const std::int64_t blocks = model_.config().num_blocks();
    states_.emplace_back(text_, model_.matrix(kEmbeddingModule), compute_.storage);
    for (std::int64_t index = 0; index < blocks; ++index) {
      const BlockWeights block = block_at(index);
      HiddenStates& before = states_.back();
      HiddenStates after(before, before.hidden_size(), compute_.storage);
      for_each_piece(before, compute_.target.device,
                     [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
                       after.windows(begin, end).copy_(block_forward(block, rotary_, hidden, {}));
                       after.release(begin, end);
                     });
      states_.push_back(std::move(after));
      report(index + 1);
    }
  }

  /// dL/dh of the states behind the last block; forgets these states.
  HiddenStates gradient_behind_blocks() {
    const LanguageModelHead head = load_head(model_, compute_.num_threads);
    HiddenStates states = std::move(states_.back());
    states_.pop_back();
    HiddenStates gradient(states, states.hidden_size(), compute_.storage);
    for (std::int64_t window = 0; window < text_.count; ++window) {
      const std::int64_t tokens = states.tokens_of(window);
      const at::Tensor hidden =
          states.windows(window, window + 1)[0].slice(0, 0, tokens).clone().requires_grad_();
      const at::Tensor normed = rms_norm(hidden, head.final_norm, head.rms_norm_eps);
      const WindowLoss loss(TrainingLoss::CrossEntropy, at::linear(normed.detach(), head.weight),
                            text_.window(window).first(static_cast<std::size_t>(tokens)), {});
      normed.backward(stable_product(loss.gradient(), head.weight));
      gradient.windows(window, window + 1)[0].zero_().slice(0, 0, tokens).copy_(hidden.grad());
      states.release(window, window + 1);
      gradient.release(window, window + 1);
    }
    return gradient;
  }

  /// Takes the gradient from behind a block to its input; forgets the states there.
  BlockGradients walk_back(std::int64_t index, HiddenStates& gradient) {
    const BlockWeights block = block_at(index);
    HiddenStates states = std::move(states_.back());
    states_.pop_back();
    BlockScores sums;
    for_each_piece(states, compute_.target.device,
                   [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
                     const at::Tensor input = hidden.detach().clone().requires_grad_();
                     const BlockWeights used =
                         detail_ == GradientDetail::Outputs
                             ? with_probed_outputs(block, hidden.size(0), hidden.size(1))
                             : block;
                     std::array<at::Tensor, kInputGroups.size()> read;
                     const at::Tensor output = block_forward(
                         used, rotary_, input, [&](InputGroup group, const at::Tensor& values) {
                           values.retain_grad();
                           read[static_cast<std::size_t>(group)] = values;
                         });
                     output.backward(gradient.windows(begin, end).to(compute_.target.device));
                     sums.add_parts(used, read[static_cast<std::size_t>(InputGroup::O)],
                                    read[static_cast<std::size_t>(InputGroup::Down)]);
                     if (detail_ == GradientDetail::Outputs) sums.add_outputs(used);
                     gradient.windows(begin, end).copy_(input.grad());
                     gradient.release(begin, end);
                   });
    report(2 * model_.config().num_blocks() - index);
    return sums.gradients(states.num_tokens());
  }

  const ModelFolder& model_;
  const TokenWindows& text_;
  const GradientDetail detail_;
  const EvaluationOptions& compute_;
  const Progress& progress_;
  RotaryTable rotary_;
  std::vector<HiddenStates> states_;  // at the input of each block, then behind the last
};

}  // namespace

std::vector<BlockGradients> taylor_scores(const ModelFolder& model, const TokenWindows& text,
                                          GradientDetail detail, const EvaluationOptions& compute,
                                          const Progress& progress) {
  return TaylorPass(model, text, detail, compute, progress).run();
}

}  // namespace edgecompress
