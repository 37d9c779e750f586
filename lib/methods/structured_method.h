#pragma once

#include <cstdint>
#include <optional>
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

/// As ActivationScore, but with what of each input fluctuates about its mean, sum_j ||W_:j||^2
/// sum_t (x_tj - mean_j)^2: an input that hardly changes can be left to a repair (FLAP, arXiv
/// 2312.11983, section 3.2). FLAP's bias is not added: a Llama has no place for it.
struct FluctuationScore {};

/// A number from the seed: the control that every other score must beat.
struct RandomScore {
  std::uint64_t seed = 0;
};

using StructuredScore =
    std::variant<MagnitudeScore, ActivationScore, OutputErrorScore, FluctuationScore, RandomScore>;

/// What is done to the columns of o_proj and down_proj that stay.
enum class CutRepair {
  None,          ///< they stay as they are
  LeastSquares,  ///< they are solved for the uncut layer's outputs; needs calibration
  DenseOutputs,  ///< they are solved for the dense model's hidden states; needs calibration
};

/// What the removal ratio is a share of.
enum class StructuredTarget { Parameters, Flops };

/// How a ratio is spread over the decoder blocks.
enum class CutAllocation {
  Uniform,   ///< every block keeps the same widths: a plain Llama
  PerLayer,  ///< the parts that are worth the least per cost go, wherever they are; needs
             ///< calibration
};

/// Shares to remove of the KV groups and of the FFN channels, each 0..1. The number of groups is
/// the nearest whole one, half to even; the FFN width is rounded down to channel_multiple.
struct PartShares {
  double kv_groups = 0;
  double channels = 0;
};

/// How much of the decoder blocks is cut away.
struct StructuredCut {
  StructuredScore score = MagnitudeScore{};
  StructuredTarget target = StructuredTarget::Parameters;
  double ratio = 0.2;  ///< of the decoder blocks' linear parameters or FLOPs, 0..1
  std::optional<PartShares> parts = {};  ///< instead of target and ratio
  CutRepair repair = CutRepair::None;
  std::int64_t channel_multiple = 32;  ///< FFN widths are rounded to a multiple of this
  CutAllocation allocation = CutAllocation::Uniform;
  std::int64_t protect_first = 0;  ///< blocks that PerLayer leaves whole, from the first on
  std::int64_t protect_last = 0;   ///< the same, up to the last
};

}  // namespace edgecompress
