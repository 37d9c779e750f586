#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/progress.h"
#include "calibrate/token_windows.h"
#include "decoder/block_forward.h"
#include "evaluate/model_evaluation.h"
#include "llama/linear_layers.h"
#include "llama/model_folder.h"
#include "pipeline/taylor_scores.h"
#include "prune/structured.h"

namespace edgecompress {

/// What one decoder block of the dense model is worth on some text.
struct BlockSurvey {
  /// 1 - mean cosine between a token's hidden states before and after the block. Source: block
  /// influence, ShortGPT, arXiv 2403.03853, eq. 1.
  double influence = 0;
  /// Share of the block's linear weights whose |w| ||x|| is more than 5 times their matrix's mean.
  /// Source: OWL, arXiv 2310.05175, eq. 3.
  double outlier_share = 0;
  /// Mean x^2 of what a group of layers reads, by InputGroup.
  std::array<std::vector<double>, kInputGroups.size()> input_squares = {};
  PartScores taylor = {};  ///< of taylor_scores(); empty when no gradients are asked for
  /// Mean (dL/dy)^2 of the outputs, by LinearKind; empty without GradientDetail::Outputs.
  std::array<std::vector<double>, kLinearKinds.size()> output_gradients = {};
};

/// Lets the text go through the dense model once, block by block, for decisions that need all
/// blocks before the first is changed. In memory: one block and the hidden states. The same for any
/// number of threads.
/// gradients: adds taylor_scores(), at their cost; nothing: none.
std::vector<BlockSurvey> survey_model(const ModelFolder& model, const TokenWindows& text,
                                      std::optional<GradientDetail> gradients,
                                      const EvaluationOptions& compute, const Progress& progress);

}  // namespace edgecompress
