#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "methods/reconstruction_options.h"

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

/// What the loss changes to first order without the part, squared and summed over the calibration
/// tokens: from one backward pass of the dense model (arXiv 1906.10771, eq. 8).
struct TaylorScore {};

using StructuredScore = std::variant<MagnitudeScore, ActivationScore, OutputErrorScore,
                                     FluctuationScore, RandomScore, TaylorScore>;

/// How whole decoder blocks are compared, those worth the least to be left out.
enum class LayerScore {
  Influence,   ///< what they change of the hidden states' direction; one pass of the text
  Perplexity,  ///< what the model loses without them, one left out after the other
};

/// What is done to what stays of a block.
enum class CutRepair {
  None,          ///< nothing
  LeastSquares,  ///< the columns of o_proj and down_proj are solved for the uncut layer's outputs;
                 ///< needs calibration
  DenseOutputs,  ///< they are solved for the dense model's hidden states; needs calibration
  Reconstruction,  ///< the same, then all linear layers of the block are trained for the dense
                   ///< model's hidden states behind it; needs calibration
};

/// Whether a repair looks at the dense model's hidden states.
constexpr bool aims_at_dense(CutRepair repair) {
  return repair == CutRepair::DenseOutputs || repair == CutRepair::Reconstruction;
}

/// What the removal ratio is a share of.
enum class StructuredTarget {
  Parameters,  ///< of the decoder blocks' linear layers
  Flops,       ///< the same layers' and the attention products'
  Bytes,       ///< of all weights as they are stored after the last step
  DecodeTime,  ///< of those that a decoded token reads, by which its time is bound
};

/// By their values.
inline constexpr std::array<std::string_view, 4> kStructuredTargetNames{"parameters", "flops",
                                                                        "bytes", "decode-time"};

/// How a ratio is spread over the decoder blocks.
enum class CutAllocation {
  Uniform,   ///< every block keeps the same widths: a plain Llama
  PerLayer,  ///< the parts that are worth the least per cost go, wherever they are; needs
             ///< calibration
};

/// Shares to remove of the KV groups, of the query heads of each group that stays, and of the FFN
/// channels, each 0..1. The numbers of groups and of heads are the nearest whole ones, half to
/// even; the FFN width is rounded down to channel_multiple.
struct PartShares {
  double kv_groups = 0;
  double channels = 0;
  double query_heads = 0;
};

/// Query heads to remove, by decoder block. Every KV group of a block must lose all of its heads or
/// as many as every other group that stays.
using HeadLists = std::map<std::int64_t, std::vector<std::int64_t>>;

/// How much of the decoder blocks is cut away.
struct StructuredCut {
  StructuredScore score = MagnitudeScore{};
  StructuredTarget target = StructuredTarget::Parameters;
  double ratio = 0.2;                    ///< of the target, 0..1
  std::optional<PartShares> parts = {};  ///< instead of target and ratio
  HeadLists heads_to_prune = {};         ///< beside parts: instead of their shares of heads
  CutRepair repair = CutRepair::None;
  ReconstructionOptions reconstruction = {};  ///< with CutRepair::Reconstruction
  std::int64_t channel_multiple = 32;         ///< FFN widths are rounded to a multiple of this
  CutAllocation allocation = CutAllocation::Uniform;
  std::int64_t protect_first = 0;  ///< blocks that PerLayer leaves whole, from the first on
  std::int64_t protect_last = 0;   ///< the same, up to the last
};

}  // namespace edgecompress
