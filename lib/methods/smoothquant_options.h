#pragma once

namespace edgecompress {

/// How the weights are rounded once their columns are scaled.
enum class SmoothRounding {
  Nearest,  ///< to the nearest code
  Gptq,     ///< by GPTQ with its default options
};

/// Moves the outliers of inputs that are rounded into the weights, and undoes that in the norm or
/// the layer before: input j is divided by max|x_j|^a / max|W_:j|^(1 - a) (arXiv 2211.10438, eq.
/// 4). The exponent a is searched for each group of layers. Needs calibration.
struct SmoothQuantOptions {
  SmoothRounding rounding = SmoothRounding::Nearest;
};

}  // namespace edgecompress
