#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include <ATen/core/Tensor.h>

namespace edgecompress {

// The kept weights that come nearest to the dense layer's output, in double, given the layer's
// Hessian (stats/hessian.h) plus `damping` times its mean diagonal, which pulls towards the dense
// weights. The same bytes for any number of threads. Nothing is returned when the damped Hessian is
// not positive definite in double: more damping helps.

/// Solves each row on its own support: W_R' = W H[:, R] H_RR^-1.
///
/// weight:  [out_features, in_features] float, dense: the target.
/// hessian: [in_features, in_features] double.
/// keep:    bool, the weight's shape.
/// Returns  float, the weight's shape, 0 where dropped.
/// Cost:    |R|^3 / 3 FLOPs for every distinct row of the mask.
std::optional<at::Tensor> least_squares_on_support(const at::Tensor& weight,
                                                   const at::Tensor& hessian,
                                                   const at::Tensor& keep, double damping);

/// The weight whose outputs come nearest to y: W + (E[y x^T] - W H)(H + damping)^-1.
///
/// outputs: [out_features, in_features] double, E[y x^T] over the tokens of the Hessian.
/// Returns  float, the weight's shape. With E[y x^T] = W H that is W.
/// Cost:    in_features^3 + 3 * rows * in_features^2 FLOPs.
std::optional<at::Tensor> least_squares_for_outputs(const at::Tensor& weight,
                                                    const at::Tensor& hessian,
                                                    const at::Tensor& outputs, double damping);

/// Solves all rows on the same columns R.
///
/// kept: ascending column indices.
/// Returns  float [out_features, kept.size()].
/// Cost:    |R|^3 + rows * |R| * (columns + 2 |R|) FLOPs.
std::optional<at::Tensor> least_squares_columns(const at::Tensor& weight, const at::Tensor& hessian,
                                                std::span<const std::int64_t> kept, double damping);

}  // namespace edgecompress
