#pragma once

#include <cstdint>
#include <vector>

#include "prune/structured.h"

namespace edgecompress {

/// Spreads a removal ratio over the parts of all blocks: the part that is worth the least per
/// parameter (or FLOP) it costs goes first, until the ratio of all blocks together is reached.
///
/// FFN channels go by whole multiples of cut.channel_multiple, the least worthy of a block first,
/// so that every width is such a multiple. At least one KV group and channel_multiple channels stay
/// in each block; the first cut.protect_first and the last cut.protect_last blocks stay whole.
/// With cut.parts the share of KV groups and that of channels are each spread over all blocks: the
/// nearest whole number of groups, at least the share of channels. cut.parts->query_heads is not
/// looked at.
/// worths: of each block, in one unit, as many as it has parts; all blocks have the same shape.
/// Throws  Error{Unsupported} when the ratio is out of reach, naming the largest that is not.
/// Source: global ranking by importance per cost, as in arXiv 2312.11983 (FLAP), section 3.3.
std::vector<CutWidths> allocate_cut(const StructuredCut& cut, const CutShape& shape,
                                    const std::vector<PartScores>& worths);

/// Sparsities whose mean is `sparsity`: blocks with more outliers among their weights' scores keep
/// more, the most and the fewest 2 * spread apart.
///
/// shares: of outliers, one a block. All stay within 0 .. 1; equal shares give equal sparsities.
/// Source: OWL, arXiv 2310.05175, section 3.
std::vector<double> outlier_sparsities(const std::vector<double>& shares, double sparsity,
                                       double spread);

}  // namespace edgecompress
