#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// A tensor that is trained.
struct Parameter {
  at::Tensor value;          ///< a leaf that requires a gradient
  double learning_rate = 0;  ///< at the start of the schedule
};

/// The length of all gradients together. A parameter without a gradient adds nothing.
double gradient_norm(const std::vector<Parameter>& parameters);

/// Adam's steps, without weight decay: short training starts from weights that are right already.
///
/// Its element-wise operations round once each, so that the result does not depend on which
/// elements a thread computes one by one and which in vectors. On the CPU one pass over the
/// parameters, which are float.
/// Source: Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101 (AdamW) with
/// decay 0.
class AdamW {
 public:
  explicit AdamW(std::vector<Parameter> parameters);

  /// Moves every parameter against gradient * gradient_share, at rate_share of its learning rate,
  /// and forgets the gradients.
  void step(double rate_share, double gradient_share);

  /// Forgets the gradients alone.
  void forget_gradients();

  const std::vector<Parameter>& parameters() const { return parameters_; }

  /// Of a parameter, what its next step depends on beside its value and gradient.
  struct Moments {
    at::Tensor mean;
    at::Tensor square;
  };
  const std::vector<Moments>& moments() const { return moments_; }
  std::int64_t steps() const { return steps_; }

  /// Goes on behind so many steps. moments: by parameter, taken over.
  void resume(std::int64_t steps, std::vector<Moments> moments);

 private:
  std::vector<Parameter> parameters_;
  std::vector<Moments> moments_;
  std::int64_t steps_ = 0;
};

/// The share of the learning rate at a step of `steps`: from 1 down to nearly 0, half a cosine.
double cosine_share(std::int64_t step, std::int64_t steps);

}  // namespace edgecompress
