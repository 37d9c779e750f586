#pragma once

#include <cstdint>
#include <vector>

#include "llama/config.h"
#include "pipeline/model_survey.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// The blocks that stay of `count`, ascending, when a step leaves some out: those it names, or
/// those of the least influence. survey: of all blocks, or empty, as if all were alike. Throws
/// Error{Unsupported} U-LAYER when a block is not there or none would be left.
std::vector<std::int64_t> blocks_left(const DropLayersStep& step, std::int64_t count,
                                      const std::vector<BlockSurvey>& survey);

/// The config of a model with these blocks alone.
LlamaConfig with_blocks(LlamaConfig config, const std::vector<std::int64_t>& blocks);

/// What the survey says of these blocks; empty when it is.
std::vector<BlockSurvey> surveys_of(const std::vector<std::int64_t>& blocks,
                                    const std::vector<BlockSurvey>& survey);

/// The widths of every block after a cut. survey: of the config's blocks, or empty, as if all were
/// alike. Throws Error{Unsupported} when the cut cannot be made.
std::vector<CutWidths> widths_of(const PruneStep& step, const LlamaConfig& config,
                                 const std::vector<BlockSurvey>& survey,
                                 std::int64_t sequence_length);

/// The config of a model with these widths.
LlamaConfig with_widths(LlamaConfig config, const std::vector<CutWidths>& widths);

}  // namespace edgecompress
