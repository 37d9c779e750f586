#pragma once

#include <string>

namespace edgecompress {

/// Sets how many threads LibTorch's functions use. Results do not depend on it.
void set_tensor_threads(int num_threads);

/// "DEFAULT", "AVX2", "AVX512" ...: what LibTorch's own kernels were chosen for on this machine.
std::string instruction_set();

/// LibTorch's version.
std::string torch_version();

/// True when this build of LibTorch has CUDA and a GPU is there.
bool has_cuda();

}  // namespace edgecompress
