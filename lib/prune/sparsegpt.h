#pragma once

#include <ATen/core/Tensor.h>

#include "stats/damped_hessian.h"
#include "weights/sparsity_pattern.h"

namespace edgecompress {

struct SparseWeight {
  at::Tensor keep;      ///< bool [out_features, in_features]; true = keep
  at::Tensor weight;    ///< float, the kept weights after compensation; 0 where dropped
  double output_error;  ///< tr(D H D^T) with the damped H, D all changes of the weight
};

/// Chooses which weights to drop while the columns that follow make up for those dropped before.
///
/// weight: [out_features, in_features], float, finite.
/// factor: of the layer's Hessian, its columns in natural order.
/// The score of a weight is w^2 / U_jj^2. Scores compete within about 128 columns at a time: over
/// all rows (Unstructured), in each row (PerRow), in each strip of rows (Blocks; a tile's score is
/// the sum of its weights'), or in each run when its first column is reached (NofM). The number
/// dropped is exact: round(sparsity * candidates) of the matrix, of each row or of each strip.
/// Equal scores keep the lower index. Columns whose input was always 0 have score 0.
/// Returns the same bytes for any number of threads.
/// Throws  Error{Unsupported} when in_features is not a multiple of NofM::of, Error{Numeric} when a
/// weight is not finite.
/// Cost:   rows * columns^2 FLOPs in float.
/// Source: arXiv 2301.00774, algorithm 1.
SparseWeight sparsegpt(const at::Tensor& weight, const InverseFactor& factor,
                       const SparsityPattern& pattern);

}  // namespace edgecompress
