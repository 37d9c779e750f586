#include "tensor/runtime.h"

#include <ATen/Parallel.h>

#include "tensor/aten.h"

namespace edgecompress {

void set_tensor_threads(int num_threads) { at::set_num_threads(num_threads); }

bool has_cuda() { return at::hasCUDA(); }

}  // namespace edgecompress
