#include "calibrate/input_norms.h"

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {

InputNorms measure_input_norms(HiddenStates& states, const BlockWeights& block,
                               const RotaryTable& rotary, const ComputeTarget& target) {
  std::array<at::Tensor, kInputGroups.size()> sums;
  observe(states, block, rotary, target, [&](InputGroup group, const at::Tensor& input) {
    const at::Tensor squares =
        input.flatten(0, 1).to(at::kDouble).square().sum(0).cpu();  // [in_features]
    at::Tensor& sum = sums[static_cast<std::size_t>(group)];
    sum = sum.defined() ? sum + squares : squares;
  });
  InputNorms result;
  for (const InputGroup group : kInputGroups) {
    const auto index = static_cast<std::size_t>(group);
    const at::Tensor norm = sums[index].sqrt().to(at::kFloat);
    if (!at::isfinite(norm).all().item<bool>()) {
      throw Error(ErrorKind::Numeric, "F20",
                  "an activation is not finite; the model or the calibration text makes its hidden "
                  "states overflow");
    }
    result.norms[index] = norm;
  }
  return result;
}

}  // namespace edgecompress
