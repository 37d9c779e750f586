#pragma once

#include <array>
#include <vector>

#include "base/progress.h"
#include "calibrate/token_windows.h"
#include "evaluate/model_evaluation.h"
#include "llama/linear_layers.h"
#include "llama/model_folder.h"
#include "prune/structured.h"

namespace edgecompress {

/// What is asked of the backward pass.
enum class GradientDetail {
  Parts,    ///< what heads and channels are worth
  Outputs,  ///< that, and the gradients of all layers' outputs: about as much memory again
};

/// How the loss depends on one decoder block.
struct BlockGradients {
  PartScores parts;
  /// By LinearKind, of each output y of the layer: the mean of (dL/dy)^2 over the tokens. Empty
  /// with GradientDetail::Parts.
  std::array<std::vector<double>, kLinearKinds.size()> outputs;
};

/// What the parts of every decoder block are worth to the model's loss, to first order, and how
/// steeply the loss rises with the outputs of its linear layers.
///
/// A part's score is the sum over the tokens of (x . dL/dx)^2, x what the part hands to o_proj or
/// down_proj and L the cross entropy of the token's window: to first order the square of what the
/// loss changes when x is 0 there. The same unit in all blocks.
/// One forward pass and one backward pass of two forward passes' cost, block by block: in memory
/// one block, one piece's activations, and the hidden states between all blocks, which go to files
/// beyond compute.storage. The same for any number of threads.
/// Throws  Error{Numeric} F20 when a gradient is not finite.
/// Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", arXiv 1906.10771,
///         eq. 8.
std::vector<BlockGradients> taylor_scores(const ModelFolder& model, const TokenWindows& text,
                                          GradientDetail detail, const EvaluationOptions& compute,
                                          const Progress& progress);

}  // namespace edgecompress
