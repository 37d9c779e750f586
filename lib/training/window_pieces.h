#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "calibrate/hidden_states.h"

namespace edgecompress {

using WindowIndices = std::span<const std::int64_t>;

/// The hidden states of some windows in their order, [windows, length, hidden_size] on the device.
at::Tensor gathered_windows(HiddenStates& states, WindowIndices windows, at::Device device);

/// Adds up body(piece) over pieces of about 2048 tokens, in order: as much as is in memory at once.
template <typename Body>
double sum_over_pieces(WindowIndices windows, std::int64_t length, const Body& body) {
  const auto step = static_cast<std::size_t>(windows_at_once(length));
  double sum = 0;
  for (std::size_t begin = 0; begin < windows.size(); begin += step) {
    sum += body(windows.subspan(begin, std::min(step, windows.size() - begin)));
  }
  return sum;
}

}  // namespace edgecompress
