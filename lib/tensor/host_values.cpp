#include "tensor/host_values.h"

#include "tensor/aten.h"

namespace edgecompress {

std::vector<float> host_floats(const at::Tensor& values) {
  const at::Tensor host = values.detach().to(at::kCPU, at::kFloat).contiguous();
  return {host.data_ptr<float>(), host.data_ptr<float>() + host.numel()};
}

}  // namespace edgecompress
