#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "llama/config.h"
#include "llama/weight_layout.h"
#include "pipeline/grid_survey.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// What the layers of a model are chosen grids for.
struct GridQuestion {
  const LlamaConfig& config;
  const QuantizeStep& step;                    ///< with a size target
  const WeightForms& forms;                    ///< of all matrices; those of open grids are ignored
  const std::vector<BlockGridErrors>& errors;  ///< of candidate_schemes(), of every block; or
                                               ///< empty: as if all layers were alike
  /// Bytes of the artifact when the matrices have these forms.
  std::function<std::int64_t(const WeightForms&)> artifact_bytes;
};

/// Chooses the grids that a step's rules leave open: of all choices within the size target the one
/// whose errors add up to the least. q, k and v have one grid, and so have gate and up, as runtimes
/// fuse them. Returns rules that name every such layer.
/// Throws Error{Unsupported} U-SIZE with the smallest size that the candidates reach.
std::vector<QuantizeStep::Rule> choose_grids(const GridQuestion& question);

}  // namespace edgecompress
