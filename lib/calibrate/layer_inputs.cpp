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

LayerInputs gather_norms(SequentialBlock& tokens, InputGroup group, const BlockWeights& block) {
  at::Tensor sum;  // [in_features] double
  tokens.show(group, block, [&](const at::Tensor& inputs) {
    const at::Tensor squares = inputs.to(at::kDouble).square().sum(0);
    sum = sum.defined() ? sum + squares : squares;
  });
  return checked({.norm = sum.sqrt().to(at::kFloat), .hessian = {}});
}

LayerInputs gather_hessian(SequentialBlock& tokens, InputGroup group, const BlockWeights& block) {
  std::optional<Hessian> hessian;
  tokens.show(group, block, [&](const at::Tensor& inputs) {
    if (!hessian) hessian.emplace(inputs.size(1));
    hessian->add(inputs);
  });
  const at::Tensor matrix = hessian->matrix();
  const auto count = static_cast<double>(hessian->tokens());
  return checked({.norm = (matrix.diagonal() * count).sqrt().to(at::kFloat), .hessian = matrix});
}

}  // namespace

LayerInputs gather_inputs(SequentialBlock& tokens, InputGroup group, const BlockWeights& block,
                          InputDetail detail) {
  return detail == InputDetail::Hessian ? gather_hessian(tokens, group, block)
                                        : gather_norms(tokens, group, block);
}

}  // namespace edgecompress
