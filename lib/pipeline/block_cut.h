#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/sequential_block.h"
#include "decoder/block_weights.h"
#include "prune/structured.h"

namespace edgecompress {

/// Which KV groups and FFN channels of a block stay, ascending.
struct KeptParts {
  std::vector<std::int64_t> kv_groups;
  std::vector<std::int64_t> channels;
};

/// The block without the other parts: rows of q, k, v, gate, up and their biases, columns of o and
/// down.
BlockWeights cut_block(const BlockWeights& block, const KeptParts& kept);

struct CutResult {
  BlockWeights block;
  std::vector<std::string> fallbacks;  ///< what was done instead of what was asked for
};

/// Chooses the parts of a block, cuts it, and repairs o_proj and down_proj.
///
/// tokens: calibration tokens at this block's input, not shown any group yet; nullptr for a
/// data-free cut. The FFN is scored on what flows behind the already cut attention.
/// Weights are rounded to `dtype`.
CutResult prune_block(const BlockWeights& block, SequentialBlock* tokens, const StructuredCut& cut,
                      const CutWidths& widths, DType dtype);

}  // namespace edgecompress
