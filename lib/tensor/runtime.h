#pragma once

namespace edgecompress {

/// Sets how many threads LibTorch's functions use. Results do not depend on it.
void set_tensor_threads(int num_threads);

/// True when this build of LibTorch has CUDA and a GPU is there.
bool has_cuda();

}  // namespace edgecompress
