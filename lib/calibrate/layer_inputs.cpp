#include "calibrate/layer_inputs.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

LayerInputs checked(LayerInputs inputs) {
  if (!at::isfinite(inputs.norm).all().item<bool>()) {
    throw Error(ErrorKind::Numeric, "F20",
                "an activation is not finite; the model or the calibration text makes its hidden "
                "states overflow");
  }
  return inputs;
}

/// sum (x - mean)^2 = sum x^2 - tokens mean^2, in double; rounding must not make it negative.
at::Tensor deviation_of(const at::Tensor& squares, const at::Tensor& mean, double tokens) {
  return (squares - mean.square() * tokens).clamp_min(0).sqrt().to(at::kFloat);
}

constexpr std::int64_t kSampledTokens = 512;

/// The largest inputs, and some tokens as they are.
class InputSample {
 public:
  explicit InputSample(const SequentialBlock& tokens)
      : stride_((tokens.num_tokens() + kSampledTokens - 1) / kSampledTokens) {}

  void add(const at::Tensor& inputs) {
    const at::Tensor largest = inputs.abs().amax(0);
    largest_ = largest_.defined() ? at::maximum(largest_, largest) : largest;
    const std::int64_t first = (stride_ - seen_ % stride_) % stride_;
    seen_ += inputs.size(0);
    if (first < inputs.size(0))
      taken_.push_back(inputs.slice(0, first, std::nullopt, stride_).clone());
  }

  void move_to(LayerInputs& inputs) {
    inputs.largest = largest_;
    inputs.sample = at::cat(taken_);
  }

 private:
  std::int64_t stride_;
  std::int64_t seen_ = 0;
  at::Tensor largest_;
  std::vector<at::Tensor> taken_;
};

LayerInputs gather_norms(SequentialBlock& tokens, InputGroup group, const BlockWeights& block,
                         const SequentialBlock::TokenSink& also) {
  at::Tensor squares;  // [in_features] double
  at::Tensor sum;      // [in_features] double
  double count = 0;
  tokens.show(group, block, [&](const at::Tensor& inputs) {
    const at::Tensor values = inputs.to(at::kDouble);
    const at::Tensor more = values.square().sum(0);
    squares = squares.defined() ? squares + more : more;
    sum = sum.defined() ? sum + values.sum(0) : values.sum(0);
    count += static_cast<double>(inputs.size(0));
    if (also) also(inputs);
  });
  return checked({.norm = squares.sqrt().to(at::kFloat),
                  .deviation = deviation_of(squares, sum / count, count),
                  .hessian = {}});
}

LayerInputs gather_hessian(SequentialBlock& tokens, InputGroup group, const BlockWeights& block,
                           const SequentialBlock::TokenSink& also) {
  std::optional<Hessian> hessian;
  tokens.show(group, block, [&](const at::Tensor& inputs) {
    if (!hessian) hessian.emplace(inputs.size(1));
    hessian->add(inputs);
    if (also) also(inputs);
  });
  const at::Tensor matrix = hessian->matrix();
  const auto count = static_cast<double>(hessian->tokens());
  const at::Tensor squares = matrix.diagonal() * count;
  return checked({.norm = squares.sqrt().to(at::kFloat),
                  .deviation = deviation_of(squares, hessian->mean(), count),
                  .hessian = matrix});
}

}  // namespace

LayerInputs gather_inputs(SequentialBlock& tokens, InputGroup group, const BlockWeights& block,
                          CalibrationNeed need, const SequentialBlock::TokenSink& also) {
  ensure(need != CalibrationNeed::None, "something to gather");
  if (need == CalibrationNeed::Norms) return gather_norms(tokens, group, block, also);
  if (need == CalibrationNeed::Hessian) return gather_hessian(tokens, group, block, also);
  InputSample sample(tokens);
  LayerInputs inputs = gather_hessian(tokens, group, block, [&](const at::Tensor& shown) {
    sample.add(shown);
    if (also) also(shown);
  });
  sample.move_to(inputs);
  return inputs;
}

}  // namespace edgecompress
