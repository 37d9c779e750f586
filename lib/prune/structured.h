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
/// residual stream; undefined for MagnitudeScore.
struct BlockInputNorms {
  at::Tensor o;     ///< [num_attention_heads * head_dim]
  at::Tensor down;  ///< [intermediate_size]
};

/// Scores of the KV groups of a block, double [num_key_value_heads]; larger = more worth keeping.
/// MagnitudeScore: the norm of the group's k and v rows, the q rows of its query heads and the o
/// columns of those heads together. ActivationScore: of its o columns. Throws  Error{Numeric} when
/// a score is not finite. The same for any number of threads.
at::Tensor kv_group_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                           std::int64_t head_dim, const StructuredScore& score);

/// Scores of the FFN channels of a block, double [intermediate_size]: of the gate and up rows and
/// the down column together (MagnitudeScore), or of the down column (ActivationScore).
at::Tensor channel_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                          const StructuredScore& score);

/// Returns the indices of the `count` largest scores in ascending order; equal scores keep the
/// lower index.
std::vector<std::int64_t> keep_largest(const at::Tensor& scores, std::int64_t count);

/// How many KV groups and FFN channels every block keeps.
struct CutWidths {
  std::int64_t num_key_value_heads;
  std::int64_t intermediate_size;
};

/// Splits a removal ratio over KV groups and FFN channels.
///
/// The ratio is of the linear parameters of a block, or of its FLOPs for a token that attends to
/// `sequence_length` positions (the attention products included; two FLOPs per multiply-add). The
/// rule: the share of KV groups removed is as near as whole groups allow to the ratio itself (of
/// two as near, the even number), then the FFN width makes up the rest, rounded down to
/// channel_multiple so that at least the ratio is removed; it stays as it is when nothing is left
/// to make up. More groups go only where the FFN cannot. At least one KV group and channel_multiple
/// channels stay. Throws  Error{Unsupported} when the ratio cannot be reached, naming the largest
/// that can.
CutWidths plan_cut(const StructuredCut& cut, std::int64_t hidden_size, std::int64_t head_dim,
                   std::int64_t num_attention_heads, std::int64_t num_key_value_heads,
                   std::int64_t intermediate_size, std::int64_t sequence_length);

}  // namespace edgecompress
