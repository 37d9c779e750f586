#pragma once

#include <array>
#include <vector>

#include "base/progress.h"
#include "calibrate/token_windows.h"
#include "decoder/block_forward.h"
#include "evaluate/model_evaluation.h"
#include "llama/model_folder.h"
#include "recipe/recipe.h"
#include "weights/quant_scheme.h"

namespace edgecompress {

/// What some grids cost one decoder block, by group of layers and grid, when the group alone is
/// rounded: E(||change||^2 / ||state||^2) of the states behind the block, or the KL divergence of
/// the model's predictions in nats (docs/numerics.md).
using BlockGridErrors = std::array<std::vector<double>, kInputGroups.size()>;

/// Which grids, and in which unit.
struct MeasuredGrids {
  std::vector<QuantScheme> schemes;
  GridSensitivity sensitivity = GridSensitivity::HiddenStates;
};

/// Measures that for every block of the dense model on the inputs it gets there. Of each layer at
/// most 256 rows are rounded, spread evenly, with a clip search by weight error.
///
/// In memory: one block, the hidden states, one group's Hessian. The same for any number of
/// threads. Cost: the text through every block (SequentialBlock), its Hessians, and for each
/// layer and grid 256 * columns^2 FLOPs in double; five forward passes of one piece. For the
/// divergence the states of divergence_windows() for every group and block too, which go through
/// all blocks behind theirs and the head. Throws Error{Numeric} naming the module of a weight or of
/// inputs that are not finite.
std::vector<BlockGridErrors> measure_grid_errors(const ModelFolder& model, const TokenWindows& text,
                                                 const MeasuredGrids& grids,
                                                 const EvaluationOptions& compute,
                                                 const Progress& progress);

/// Windows whose predictions are compared for GridSensitivity::Divergence: about 1024 tokens.
std::int64_t divergence_windows(std::int64_t count, std::int64_t length);

}  // namespace edgecompress
