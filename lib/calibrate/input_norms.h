#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "calibrate/hidden_states.h"

namespace edgecompress {

/// L2 norms over all calibration tokens of what flows into each group of a block's linear layers.
struct InputNorms {
  std::array<at::Tensor, kInputGroups.size()> norms;  ///< by InputGroup, [in_features] float on the CPU

  const at::Tensor& of(InputGroup group) const { return norms[static_cast<std::size_t>(group)]; }
};

/// Squares are summed in double, windows in order: the same bytes for any number of threads.
InputNorms measure_input_norms(HiddenStates& states, const BlockWeights& block,
                               const RotaryTable& rotary, const ComputeTarget& target);

}  // namespace edgecompress
