#pragma once

#include <cstdint>

namespace edgecompress {

/// How a block that was cut or masked is trained for the dense model's hidden states.
struct ReconstructionOptions {
  std::int64_t epochs = 3;      ///< over the calibration windows
  double learning_rate = 3e-4;  ///< Adam's, at the start of half a cosine
  std::int64_t batch = 2;       ///< windows per step
  std::uint64_t seed = 0;       ///< of the order of the windows
};

}  // namespace edgecompress
