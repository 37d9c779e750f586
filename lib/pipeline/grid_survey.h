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

/// What some grids cost one decoder block, by group of layers and grid: in proportion to the sum
/// over the group's layers of E||(W - W')x||^2 / E||Wx||^2, W' rounded to the nearest; that of the
/// first grid is what rounding the group alone does to the hidden states behind the block,
/// E(||change||^2 / ||state||^2).
using BlockGridErrors = std::array<std::vector<double>, kInputGroups.size()>;

/// Measures that for every block of the dense model on the inputs it gets there. Of each layer at
/// most 256 rows are rounded, spread evenly, with a clip search by weight error.
///
/// The change behind the block is measured on the tokens of one piece (windows_at_once). Summing
/// the layers' errors as they are loses more: q and k err by as much as v, but matter less
/// (perplexity 32.27 instead of 32.03 on tests/models/mini-llama at 2.67 MiB).
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
