#include "tensor/runtime.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include "tensor/aten.h"

namespace edgecompress {

void set_tensor_threads(int num_threads) { at::set_num_threads(num_threads); }

std::string instruction_set() { return at::get_cpu_capability(); }

std::string torch_version() { return TORCH_VERSION; }

bool has_cuda() { return at::hasCUDA(); }

}  // namespace edgecompress
