#pragma once

#include <ATen/core/Tensor.h>

#include "weights/quant_scheme.h"

namespace edgecompress {

/// A quantized matrix's grid as training finds it. The last group of a row may be short.
struct StartingGrid {
  std::int64_t columns = 0;
  QuantScheme scheme;
  at::Tensor scales;       ///< [out, groups, 1]
  at::Tensor zero_points;  ///< [out, groups, 1]
  at::Tensor keep;         ///< [out, groups, length] bool, false: masked; undefined without a mask
};

/// What is trained of it.
struct GridParameters {
  at::Tensor weight;      ///< [out, groups, length], in steps of the starting grid
  at::Tensor factors;     ///< [out, groups, 1], of the scales
  at::Tensor zero_shift;  ///< [out, groups, 1], in half grids; undefined: zero points stay
};

/// The grid that the parameters stand for, differentiable in them.
struct TrainedGrid {
  at::Tensor codes;   ///< [out, groups, length], integers counted from the zero point
  at::Tensor scales;  ///< [out, groups, 1]
  at::Tensor zeros;   ///< [out, groups, 1]
};

/// code = clamp(round(weight / factor), qmin - zero, qmax - zero), 0 where masked;
/// scale = start * factor; zero = clamp(round(start - shift * qmin), qmin, qmax).
/// Gradients: those of the real values inside the grid, 0 outside; see RoundedLayer.
TrainedGrid round_to_grid(const StartingGrid& start, const GridParameters& parameters);

/// codes * scales of it, [out, columns] float: the same values and gradients. On the CPU in one
/// pass over the weights each way, where LibTorch's operations take two dozen.
at::Tensor rounded_weight(const StartingGrid& start, const GridParameters& parameters);

}  // namespace edgecompress
