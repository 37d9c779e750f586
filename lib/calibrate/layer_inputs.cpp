#include "calibrate/layer_inputs.h"

#include <cmath>

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
                          InputDetail detail, const SequentialBlock::TokenSink& also) {
  return detail == InputDetail::Hessian ? gather_hessian(tokens, group, block, also)
                                        : gather_norms(tokens, group, block, also);
}

}  // namespace edgecompress
