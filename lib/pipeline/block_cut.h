#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/dense_reference.h"
#include "calibrate/sequential_block.h"
#include "decoder/block_weights.h"
#include "prune/head_lists.h"
#include "prune/structured.h"

namespace edgecompress {

/// Which heads and FFN channels of a block stay, ascending.
struct KeptParts {
  KeptHeads heads;
  std::vector<std::int64_t> channels;
};

/// The block without the other parts: rows of q, k, v, gate, up and their biases, columns of o and
/// down.
BlockWeights cut_block(const BlockWeights& block, const KeptParts& kept);

struct CutResult {
  BlockWeights block;
  std::vector<std::string> fallbacks;  ///< what was done instead of what was asked for
};

/// Calibration tokens at a block's input, not shown any group yet.
struct CutTokens {
  SequentialBlock* block = nullptr;    ///< nullptr for a data-free cut
  DenseReference* dense = nullptr;     ///< for a repair that aims at the dense model
  const PartScores* scores = nullptr;  ///< of the block's parts, for TaylorScore
};

/// Chooses the parts of a block, cuts it, and repairs o_proj and down_proj.
///
/// The FFN is scored on what flows behind the already cut attention. With a repair that aims at the
/// dense model both matrices are first solved for the dense model's residual stream, then scored
/// and cut. Weights are rounded to `dtype`.
CutResult prune_block(const BlockWeights& block, const CutTokens& tokens, const StructuredCut& cut,
                      const CutWidths& widths, DType dtype);

}  // namespace edgecompress
