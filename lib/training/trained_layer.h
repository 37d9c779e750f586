#pragma once

#include <optional>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "decoder/block_weights.h"
#include "llama/checkpoint_writer.h"
#include "methods/training_options.h"
#include "training/adamw.h"
#include "training/grid_rounding.h"

namespace edgecompress {

/// Values in proportion to their start: start * factor. One learning rate then fits scales of any
/// size.
class TrainedFactors {
 public:
  explicit TrainedFactors(at::Tensor start);

  /// Differentiable; the shape of `start`.
  at::Tensor values() const;
  const at::Tensor& factors() const { return factors_; }  ///< the leaf
  /// Brings every factor back into a range in which no scale changes its sign or vanishes.
  void settle();

 private:
  at::Tensor start_;
  at::Tensor factors_;
};

/// A layer that stays as it is stored.
class FrozenLayer {
 public:
  FrozenLayer(StoredMatrix matrix, at::Device device, int num_threads);
  at::Tensor weight() const;
  WeightValue stored() const;
  std::vector<Parameter> parameters(const TrainingOptions&) const { return {}; }
  void settle() {}

 private:
  StoredMatrix matrix_;
  at::Device device_;
  int num_threads_;
};

/// A quantized layer whose scales are trained. Its codes are read from the model's file each time,
/// so that only the scales are in memory.
class ScaledLayer {
 public:
  ScaledLayer(StoredQuantizedMatrix matrix, at::Device device);
  at::Tensor weight() const;
  WeightValue stored() const;
  std::vector<Parameter> parameters(const TrainingOptions& options) const;
  void settle() { scales_.settle(); }

 private:
  StoredQuantizedMatrix matrix_;
  at::Device device_;
  TrainedFactors scales_;
};

/// A floating layer whose weights are trained. What is computed with is rounded to the type it will
/// be stored in; the gradient passes the rounding unchanged.
class FloatLayer {
 public:
  /// weight: taken over, changed in place. zeros: Keep makes the weights that are 0 a mask.
  FloatLayer(at::Tensor weight, DType dtype, ZeroWeights zeros);
  at::Tensor weight() const;
  WeightValue stored() const;
  std::vector<Parameter> parameters(const TrainingOptions& options) const;
  /// Throws std::logic_error when a masked weight is not exactly 0.
  void settle();

 private:
  at::Tensor weight_;
  DType dtype_;
  at::Tensor keep_;  // bool; undefined without a mask
};

/// A quantized layer whose codes are trained through the weights behind them, with its scales.
///
/// code = clamp(round(weight / scale), qmin - zero_point, qmax - zero_point), counted from the zero
/// point: what rounding to nearest does. Gradients: the weight's is that of the real value inside
/// the grid and 0 outside; the scale's is round(v) - v inside and the grid's end outside, with v =
/// weight / scale; the zero point's is 0 inside and -scale outside. Weights are trained in steps of
/// the grid at the start, so that one learning rate fits grids of any size.
/// Source: LSQ, arXiv 1902.08153, eq. 3; EfficientQAT, arXiv 2407.11062, appendix.
class RoundedLayer {
 public:
  /// dense: the layer's floating weights [out, in], or undefined. A weight starts where dense has
  /// it when that rounds to its code in `matrix`, else in the middle of the code's cell. A weight
  /// that is 0 in dense stays 0 in any case.
  RoundedLayer(const QuantizedMatrix& matrix, const at::Tensor& dense, at::Device device,
               const TrainingOptions& options);
  at::Tensor weight() const;
  WeightValue stored() const;
  std::vector<Parameter> parameters(const TrainingOptions& options) const;
  void settle();

 private:
  GridParameters grid_parameters() const { return {weight_, factors_.factors(), zero_shift_}; }

  MatrixShape shape_;
  StartingGrid start_;
  at::Tensor weight_;       // [out, groups, length], in steps of the grid at the start
  TrainedFactors factors_;  // [out, groups, 1], of the scales
  at::Tensor zero_shift_;   // the same shape, in half grids; undefined: zero points stay
};

using TrainedLayer = std::variant<FrozenLayer, ScaledLayer, FloatLayer, RoundedLayer>;

}  // namespace edgecompress
