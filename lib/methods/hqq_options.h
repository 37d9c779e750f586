#pragma once

namespace edgecompress {

/// Half-quadratic quantization (HQQ): alternates between the rounding errors that count as outliers
/// and the grid that fits the rest best. Data-free.
struct HqqOptions {
  int iterations = 20;  ///< each as long as one rounding of the weights
};

}  // namespace edgecompress
