#include "training/straight_through.h"

#include "tensor/aten.h"

namespace edgecompress {

at::Tensor straight_through(const at::Tensor& exact, const at::Tensor& carrier) {
  return carrier + (exact - carrier).detach();
}

}  // namespace edgecompress
