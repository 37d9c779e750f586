#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/hidden_states.h"
#include "calibrate/layer_inputs.h"
#include "pipeline/layer_steps.h"
#include "pipeline/stored_steps.h"

namespace edgecompress {

/// What the head reads over all calibration tokens: the hidden states behind the last block,
/// normalized. Throws Error{Numeric} F20 when one is not finite.
LayerInputs gather_head_inputs(HiddenStates& states, const at::Tensor& final_norm, double eps);

/// A head rounded by GPTQ, and what is reported of it.
struct NewHead {
  NewMatrix stored;
  double relative_output_error = 0;
  double relative_nearest_error = 0;
  std::optional<int> damping_rung;
  std::optional<double> clipped_share;
  std::vector<std::string> fallbacks;
};

/// Rounds the head by GPTQ, some rows at a time: with the step's options when they are GPTQ's, else
/// with the defaults.
NewHead quantize_head(const StoredMatrix& head, GroupInputs& inputs, const QuantScheme& scheme,
                      const QuantizeMethod& method, int num_threads);

}  // namespace edgecompress
