#include "training/adamw.h"

#include <cmath>
#include <numbers>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

constexpr double kMeanDecay = 0.9;
constexpr double kSquareDecay = 0.999;
constexpr double kEpsilon = 1e-8;

}  // namespace

double gradient_norm(const std::vector<Parameter>& parameters) {
  double squares = 0;
  for (const Parameter& parameter : parameters) {
    const at::Tensor& gradient = parameter.value.grad();
    if (gradient.defined()) squares += ordered_sum(gradient.square().cpu());
  }
  return std::sqrt(squares);
}

AdamW::AdamW(std::vector<Parameter> parameters) : parameters_(std::move(parameters)) {
  for (const Parameter& parameter : parameters_) {
    moments_.push_back({at::zeros_like(parameter.value), at::zeros_like(parameter.value)});
  }
}

void AdamW::step(double rate_share, double gradient_share) {
  const at::NoGradGuard no_grad;
  ++steps_;
  const auto count = static_cast<double>(steps_);
  const double mean_share = 1 - std::pow(kMeanDecay, count);
  const double square_share = std::sqrt(1 - std::pow(kSquareDecay, count));
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = parameters_[i];
    if (!parameter.value.grad().defined()) continue;
    const at::Tensor gradient = parameter.value.grad() * gradient_share;
    Moments& moments = moments_[i];
    moments.mean.mul_(kMeanDecay).add_(gradient * (1 - kMeanDecay));
    moments.square.mul_(kSquareDecay).add_(gradient.square() * (1 - kSquareDecay));
    const double rate = parameter.learning_rate * rate_share / mean_share;
    const at::Tensor length = (moments.square.sqrt() * (1 / square_share)).add_(kEpsilon);
    parameter.value.sub_((moments.mean * rate).div_(length));
  }
  forget_gradients();
}

void AdamW::resume(std::int64_t steps, std::vector<Moments> moments) {
  ensure(moments.size() == parameters_.size(), "moments of every parameter");
  steps_ = steps;
  moments_ = std::move(moments);
}

void AdamW::forget_gradients() {
  for (Parameter& parameter : parameters_) parameter.value.mutable_grad() = at::Tensor();
}

double cosine_share(std::int64_t step, std::int64_t steps) {
  if (steps == 0) return 1;
  const double done = static_cast<double>(step) / static_cast<double>(steps);
  return 0.5 * (1 + std::cos(std::numbers::pi * done));
}

}  // namespace edgecompress
