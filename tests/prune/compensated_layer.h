#pragma once

#include "stats/damped_hessian.h"
#include "tensor/aten.h"

namespace edgecompress {

/// A weight and the second moments of correlated inputs of unlike size.
struct CompensatedLayer {
  at::Tensor weight;   // [out, in]
  at::Tensor hessian;  // [in, in] double
};

inline CompensatedLayer make_compensated_layer(std::int64_t rows, std::int64_t columns) {
  at::manual_seed(31);
  const at::Tensor weight = at::randn({rows, columns}) * 0.1;
  const at::Tensor mix = at::randn({columns, columns}, at::kDouble) * 0.3 +
                         at::eye(columns, at::kDouble) * (at::rand({columns}) * 3 + 0.3);
  const at::Tensor inputs = at::mm(at::randn({2 * columns, columns}, at::kDouble), mix);
  return {weight, at::mm(inputs.t(), inputs) / static_cast<double>(2 * columns)};
}

}  // namespace edgecompress
