#pragma once

#include <cstdint>
#include <string>
#include <variant>

namespace edgecompress {

/// The score of a KV group or an FFN channel is a norm of its weights.
struct MagnitudeScore {
  int norm = 2;  ///< 1 or 2
};
/// The score estimates the energy that the group adds to the residual stream: the root of
/// sum_j ||W_:j||^2 ||x_j||^2 over its inputs j of o_proj or down_proj, x over the calibration
/// tokens. Only what leaves the group counts: adding |W| ||x|| of the rows that feed it keeps worse
/// groups (perplexity 28.6 instead of 26.9 on a 25M-parameter model with a fifth of its FFN
/// channels removed).
struct ActivationScore {};

/// The parts whose removal costs the least output error go one after the other, the rest making up
/// for each (optimal brain surgeon for structures, arXiv 2302.04089). Implies least squares.
struct OutputErrorScore {};

using StructuredScore = std::variant<MagnitudeScore, ActivationScore, OutputErrorScore>;

/// What is done to the columns of o_proj and down_proj that stay.
enum class CutRepair {
  None,          ///< they stay as they are
  LeastSquares,  ///< they are solved for the dense outputs; needs calibration
};

/// What the removal ratio is a share of.
enum class StructuredTarget { Parameters, Flops };

/// How much of every decoder block is cut away. The same number of KV groups and of FFN channels
/// goes from every block, so that the result is a plain Llama of smaller widths.
struct StructuredCut {
  StructuredScore score = MagnitudeScore{};
  StructuredTarget target = StructuredTarget::Parameters;
  double ratio = 0.2;  ///< of the decoder blocks' linear parameters or FLOPs, 0..1
  CutRepair repair = CutRepair::None;
  std::int64_t channel_multiple = 32;  ///< FFN widths are rounded to a multiple of this
};

}  // namespace edgecompress
