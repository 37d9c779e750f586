#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "evaluate/model_evaluation.h"
#include "llama/model_folder.h"
#include "pipeline/model_survey.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// By module of the model that is written.
using MatrixSparsities = std::map<std::string, double>;

/// The layers that a mask step works on.
struct MaskedModel {
  const ModelFolder& source;
  const std::vector<std::int64_t>& source_blocks;  ///< that each written block comes from
  const LlamaConfig& config;                       ///< where the mask is laid, after cuts
};

/// Spreads the step's sparsity over the layers it targets as MaskAllocation::Loss says. What a
/// weight costs is taken from the source's matrices, also where a cut has changed them since.
///
/// survey: of the source's blocks, with GradientDetail::Outputs. In memory: one block. The same for
/// any number of threads.
MatrixSparsities sparsities_by_loss(const MaskedModel& masked, const MaskStep& step,
                                    const std::vector<BlockSurvey>& survey, int num_threads,
                                    const Progress& progress);

}  // namespace edgecompress
