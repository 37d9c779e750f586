#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// Gathers the second moments of what flows into a linear layer: H = sum x x^T / tokens.
///
/// The layer's squared output error under a change D of its weight is tr(D H D^T) per token.
/// Products run in float over tiles of 1024 tokens of one call and are added up in double, calls in
/// order: equal calls give equal bytes on any number of threads.
class Hessian {
 public:
  explicit Hessian(std::int64_t in_features);

  /// inputs: [tokens, in_features], float, padding left out.
  /// Cost: tokens * flops_per_token(in_features).
  void add(const at::Tensor& inputs);

  std::int64_t tokens() const { return tokens_; }

  /// Multiplications and additions of the products: about in_features^2, half of a full product,
  /// and the part of the blocks on the diagonal that lies above it.
  static std::int64_t flops_per_token(std::int64_t in_features);

  /// The mean of x x^T over all tokens, [in_features, in_features] double; zeros without tokens.
  /// Throws  Error{Numeric} when an input was not finite or its square overflows float.
  at::Tensor matrix() const;

  /// The mean of x, [in_features] double.
  at::Tensor mean() const;

 private:
  std::int64_t tokens_ = 0;
  at::Tensor products_;  // [in, in] double, summed; only the lower triangle by blocks
  at::Tensor sums_;      // [in] double
};

/// Gathers mean(a b^T) of two things that belong to the same tokens, as Hessian does for one.
class CrossMoment {
 public:
  CrossMoment(std::int64_t left_features, std::int64_t right_features);

  /// left: [tokens, left_features], right: [tokens, right_features], float on the CPU.
  /// Cost: 2 * tokens * left_features * right_features FLOPs.
  void add(const at::Tensor& left, const at::Tensor& right);

  /// [left_features, right_features] double; zeros without tokens.
  at::Tensor matrix() const;

 private:
  std::int64_t tokens_ = 0;
  at::Tensor products_;  // [left, right] double, summed
};

/// A Hessian over its mean diagonal, so that no product in float leaves its range.
struct RelativeHessian {
  at::Tensor matrix;         ///< [in_features, in_features] float, contiguous
  double mean_diagonal = 0;  ///< not divided by when it is 0
};

RelativeHessian relative_hessian(const at::Tensor& hessian);

/// tr(D H D^T): the output energy of a weight or of a difference of weights, per token.
///
/// difference: [out_features, in_features] float.
/// Products in float, added up in double. Cost: rows * in_features^2 FLOPs.
double output_energy(const at::Tensor& difference, const RelativeHessian& hessian);

}  // namespace edgecompress
