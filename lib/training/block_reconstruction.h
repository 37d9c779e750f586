#pragma once

#include "calibrate/hidden_states.h"
#include "methods/structured_method.h"
#include "training/trainer.h"

namespace edgecompress {

/// Tokens at a block's input and what should come out; both as long and as many.
struct ReconstructionStates {
  HiddenStates& inputs;  ///< as the compressed blocks before give them
  HiddenStates& wanted;  ///< behind the same block of the dense model
};

/// Where a block is computed.
struct BlockCompute {
  const RotaryTable& rotary;
  ComputeTarget target;
};

struct Reconstruction {
  BlockWeights block;       ///< float, on the CPU
  double error_before = 0;  ///< mean over held-out tokens of ||y - wanted||^2 / ||wanted||^2
  double error_after = 0;   ///< the same; at most error_before
};

/// Trains the linear layers of a block so that its outputs come near to the wanted ones, each token
/// counting the same however long its hidden state is.
///
/// Of the windows a tenth only judges; the weights are those with the least error there, which may
/// be those at the start. start: float, on the CPU. The same bytes for any number of threads.
/// Throws  Error{Malformed} F24 when there are fewer than two windows; Error{Numeric} T-FINITE.
/// Cost:   each epoch three forward passes of the block over all tokens.
/// Source: block reconstruction, BRECQ, arXiv 2102.05426, section 3; for pruned models arXiv
///         2510.14444.
Reconstruction reconstruct_block(const BlockWeights& start, const ReconstructionStates& states,
                                 const BlockCompute& compute, const ReconstructionOptions& options);

}  // namespace edgecompress
