#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "methods/structured_method.h"

namespace edgecompress {

/// The matrices of one decoder block that a cut looks at; shapes as in the checkpoint.
struct BlockMatrices {
  at::Tensor q, k, v, o, gate, up, down;
};

/// L2 norms over the calibration tokens of the inputs of the two matrices that write to the
/// residual stream: about 0 for ActivationScore, about the mean for FluctuationScore; undefined for
/// the others.
struct BlockInputNorms {
  at::Tensor o;     ///< [num_attention_heads * head_dim]
  at::Tensor down;  ///< [intermediate_size]
};

/// Scores of a block's parts that were found before the block is cut; larger = more worth keeping.
struct PartScores {
  std::vector<double> kv_groups = {};
  std::vector<double> query_heads = {};
  std::vector<double> channels = {};
};

/// Scores of the KV groups of a block, double [num_key_value_heads]; larger = more worth keeping.
/// MagnitudeScore: the norm of the group's k and v rows, the q rows of its query heads and the o
/// columns of those heads together. ActivationScore, FluctuationScore: of its o columns.
/// RandomScore: of the seed alone. Not of OutputErrorScore, nor of TaylorScore. Throws
/// Error{Numeric} when a score is not finite. The same for any number of threads.
at::Tensor kv_group_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                           std::int64_t head_dim, const StructuredScore& score);

/// The same of the query heads, double [num_attention_heads]: of a head's q rows and o columns.
at::Tensor query_head_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                             std::int64_t head_dim, const StructuredScore& score);

/// Scores of the FFN channels of a block, double [intermediate_size]: of the gate and up rows and
/// the down column together (MagnitudeScore), or of the down column (ActivationScore,
/// FluctuationScore).
at::Tensor channel_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                          const StructuredScore& score);

/// The score with a seed of its own for a block, so that blocks do not lose the same parts.
RandomScore random_score_of_block(const RandomScore& score, std::int64_t block);

/// Returns the indices of the `count` largest scores in ascending order; equal scores keep the
/// lower index.
std::vector<std::int64_t> keep_largest(const at::Tensor& scores, std::int64_t count);

/// Widths of a block before a cut.
struct CutShape {
  std::int64_t hidden_size;
  std::int64_t head_dim;
  std::int64_t num_attention_heads;
  std::int64_t num_key_value_heads;
  std::int64_t intermediate_size;
  std::int64_t sequence_length;  ///< positions that a token attends to, for counting FLOPs
};

/// What one KV group, one FFN channel and all of a block cost, in linear parameters or in FLOPs.
struct PartCosts {
  double group;
  double channel;
  double block;
};
PartCosts part_costs(StructuredTarget target, const CutShape& shape);

/// What a block keeps.
struct CutWidths {
  std::int64_t num_key_value_heads;
  std::int64_t intermediate_size;
  std::int64_t queries_removed = 0;  ///< so many query heads of each KV group that stays go
  std::vector<std::int64_t> heads_to_prune = {};  ///< query heads that go; empty: by scores
};

/// Splits a removal ratio over KV groups and FFN channels, or follows the shares of each.
///
/// With shares each part's number is its own (see PartShares); at least one KV group, one query
/// head in it and channel_multiple channels stay.
/// The ratio is of the linear parameters of a block, or of its FLOPs for a token that attends to
/// shape.sequence_length positions (the attention products included; two FLOPs per multiply-add).
/// The rule: the share of KV groups removed is as near as whole groups allow to the ratio itself
/// (of two as near, the even number), then the FFN width makes up the rest, rounded down to
/// channel_multiple so that at least the ratio is removed; it stays as it is when nothing is left
/// to make up. More groups go only where the FFN cannot. At least one KV group and
/// channel_multiple channels stay.
/// Throws Error{Unsupported} when the ratio cannot be reached, naming the largest that can, and
///        when a share is less than half a KV group or a head, or leaves too little.
CutWidths plan_cut(const StructuredCut& cut, const CutShape& shape);

}  // namespace edgecompress
