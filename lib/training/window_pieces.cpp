#include "training/window_pieces.h"

#include "tensor/aten.h"

namespace edgecompress {

at::Tensor gathered_windows(HiddenStates& states, WindowIndices windows, at::Device device) {
  std::vector<at::Tensor> chosen;
  for (const std::int64_t window : windows) {
    chosen.push_back(states.windows(window, window + 1));
  }
  return at::cat(chosen).to(device);  // [windows, length, hidden_size]
}

}  // namespace edgecompress
