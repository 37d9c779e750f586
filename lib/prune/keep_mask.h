#pragma once

#include <ATen/core/Tensor.h>

#include "methods/mask_method.h"
#include "weights/sparsity_pattern.h"

namespace edgecompress {

/// Chooses which weights to keep.
///
/// weight:     [out_features, in_features], float.
/// input_norm: [in_features], float: the L2 norm of each input over the calibration tokens; needed
/// by WandaMask only,
///             undefined otherwise.
/// Returns     bool, the shape of `weight`; true = keep. The number dropped is round(sparsity *
/// candidates) as torch's
///             l1_unstructured rounds it, of the matrix (Unstructured), of each row (PerRow), of
///             the tiles of each strip of rows (Blocks), or exact per run (NofM). Equal scores keep
///             the lower index. A tile's score is the sum of its weights' scores squared; tiles at
///             a ragged edge hold what is left.
/// Throws      Error{Unsupported} when in_features is not a multiple of NofM::of.
/// Source:     magnitude; Wanda, arXiv 2306.11695, eq. 1.
at::Tensor keep_mask(const at::Tensor& weight, const at::Tensor& input_norm,
                     const MaskMethod& method, const SparsityPattern& pattern);

}  // namespace edgecompress
