#pragma once

#include <map>

#include "methods/reconstruction_options.h"
#include "training/block_pass.h"

namespace edgecompress {

/// Where a block is computed.
struct BlockCompute {
  const RotaryTable& rotary;
  ComputeTarget target;
};

/// Which weights of a layer stay, bool, true = keep; a layer that is not named keeps all.
using KeptWeights = std::map<LinearKind, at::Tensor>;

struct Reconstruction {
  BlockWeights block;       ///< float, on the CPU
  double error_before = 0;  ///< the loss on held-out windows
  double error_after = 0;   ///< the same; at most error_before
};

/// Trains the linear layers of a block by the loss of BlockPass; weights that are not kept stay 0.
///
/// Of the windows a tenth only judges; the weights are those with the least error there, which may
/// be those at the start. start: float, on the CPU, 0 where `kept` says so. The same bytes for any
/// number of threads.
/// Throws  Error{Malformed} F24 when there are fewer than two windows; Error{Numeric} T-FINITE.
/// Cost:   each epoch three forward passes of the block over all tokens.
/// Source: block reconstruction, BRECQ, arXiv 2102.05426, section 3; for pruned models arXiv
///         2510.14444.
Reconstruction reconstruct_block(const BlockWeights& start, const KeptWeights& kept,
                                 const BlockExamples& examples, const BlockCompute& compute,
                                 const ReconstructionOptions& options);

}  // namespace edgecompress
