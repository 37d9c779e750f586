#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/hidden_states.h"
#include "evaluate/model_evaluation.h"
#include "pipeline/layer_steps.h"
#include "pipeline/walk_plan.h"

namespace edgecompress {

/// A block by its index in the model that is read and in the one that is written.
struct BlockIndex {
  std::int64_t source;
  std::int64_t written;
};

/// One block after each of the steps, and what is reported of its layers.
struct BlockHistory {
  std::vector<BlockWeights> after;  ///< [0] dense, [i + 1] after step i
  BlockWeights cut;                 ///< after the prune steps
  std::map<LinearKind, LayerState> layers;
  std::map<LinearKind, double> output_errors;   ///< relative to the layer's output energy
  std::map<LinearKind, double> nearest_errors;  ///< the same, of rounding to the nearest
  std::optional<double> block_error_before;     ///< of the last reconstruction
  std::optional<double> block_error_after;
  std::vector<std::string> fallbacks;
};

/// What the steps of a block work with.
struct BlockContext {
  const WalkPlan& plan;
  const LlamaConfig& config;  ///< of the model that is read
  const EvaluationOptions& compute;
  const RotaryTable& rotary;
  HiddenStates* calibration;        ///< behind the compressed blocks before; nullptr without text
  HiddenStates* dense_calibration;  ///< behind the dense ones; nullptr when no repair needs them
};

/// Does all prune, mask and quantize steps on one block, each group of layers seeing what flows
/// through the finished groups before it. Both calibration states then are those behind the block.
/// Throws what the steps throw, with the layer's name.
BlockHistory compress_block(BlockWeights dense, BlockIndex index, const BlockContext& context);

}  // namespace edgecompress
