#pragma once

#include <array>
#include <vector>

#include "base/progress.h"
#include "calibrate/token_windows.h"
#include "decoder/block_forward.h"
#include "evaluate/model_evaluation.h"
#include "llama/model_folder.h"
#include "weights/quant_scheme.h"

namespace edgecompress {

/// What some grids cost one decoder block, by group of layers and grid: the change of the states
/// behind it when the group alone is rounded, E(||change||^2 / ||state||^2) (docs/numerics.md).
using BlockGridErrors = std::array<std::vector<double>, kInputGroups.size()>;

/// Measures that for every block of the dense model on the inputs it gets there. Of each layer at
/// most 256 rows are rounded, spread evenly, with a clip search by weight error.
///
/// In memory: one block, the hidden states, one group's Hessian. The same for any number of
/// threads. Cost: the text through every block one and a half times, its Hessians, and for each
/// layer and grid 256 * columns^2 FLOPs in double; five forward passes of one piece. Throws
/// Error{Numeric} naming the module of a weight or of inputs that are not finite.
std::vector<BlockGridErrors> measure_grid_errors(const ModelFolder& model, const TokenWindows& text,
                                                 const std::vector<QuantScheme>& grids,
                                                 const EvaluationOptions& compute,
                                                 const Progress& progress);

}  // namespace edgecompress
