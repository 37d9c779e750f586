#pragma once

namespace edgecompress {

/// How GPTQ chooses the range of a group before rounding.
enum class GptqClip {
  None,         ///< the group's own minimum and maximum
  WeightError,  ///< the range with the smallest sum of |weight error|^2.4
  Importance,   ///< the range with the smallest squared weight error times the mean square of the
                ///< inputs
};

/// What happens to a matrix whose Hessian cannot be inverted even with the largest damping.
enum class OnSingular {
  Fallback,  ///< it is rounded to the nearest
  Fail,      ///< the run ends
};

/// Rounds column by column and lets the columns that follow make up for each rounding error
/// (arXiv 2210.17323). Needs calibration.
struct GptqOptions {
  GptqClip clip = GptqClip::Importance;
  bool act_order = true;  ///< columns by falling mean square of their input; groups stay in place
  double damping = 0.01;  ///< share of the Hessian's mean diagonal that is added to it
  int refine_rounds = 2;  ///< of quantize/refine.h, afterwards
  OnSingular on_singular = OnSingular::Fallback;
};

}  // namespace edgecompress
