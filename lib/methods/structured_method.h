#pragma once

#include <cstdint>
#include <string>
#include <variant>

namespace edgecompress {

/// The score of a KV group or an FFN channel is a norm of its weights.
struct MagnitudeScore {
  int norm = 2;  ///< 1 or 2
};
/// The score is sum |W| * ||x||: each weight by the L2 norm of the input it multiplies (needs calibration).
struct ActivationScore {};

using StructuredScore = std::variant<MagnitudeScore, ActivationScore>;

/// What the removal ratio is a share of.
enum class StructuredTarget { Parameters, Flops };

/// How much of every decoder block is cut away. The same number of KV groups and of FFN channels goes from every
/// block, so that the result is a plain Llama of smaller widths.
struct StructuredCut {
  StructuredScore score;
  StructuredTarget target = StructuredTarget::Parameters;
  double ratio = 0.2;  ///< of the decoder blocks' linear parameters or FLOPs, 0..1
  std::int64_t channel_multiple = 32;  ///< FFN widths are rounded to a multiple of this
};

}  // namespace edgecompress
