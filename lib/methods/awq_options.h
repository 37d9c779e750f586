#pragma once

namespace edgecompress {

/// How the weights are rounded once their columns are scaled.
enum class AwqRounding {
  Nearest,  ///< to the nearest code
  Gptq,     ///< by GPTQ with its default options
};

/// How AWQ chooses the range of a group when it rounds to the nearest.
enum class AwqClip {
  None,         ///< the group's own minimum and maximum
  OutputError,  ///< the range with the smallest output error of the group
};

/// Scales the inputs that matter up before rounding and undoes that in the norm or the layer
/// before, so that nothing is added to the model (activation-aware weight quantization, arXiv
/// 2306.00978). Needs calibration.
struct AwqOptions {
  AwqRounding rounding = AwqRounding::Nearest;
  AwqClip clip = AwqClip::OutputError;
};

}  // namespace edgecompress
