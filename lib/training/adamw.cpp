#include "training/adamw.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr double kMeanDecay = 0.9;
constexpr double kSquareDecay = 0.999;
constexpr double kEpsilon = 1e-8;

constexpr std::int64_t kPiece = 16384;  // elements, few enough to stay in a core's cache

/// Calls body(piece, begin, end) for pieces of fixed size, beside each other.
template <typename Body>
void for_each_piece(std::int64_t size, const Body& body) {
  at::parallel_for(0, (size + kPiece - 1) / kPiece, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t piece = first; piece < last; ++piece) {
      body(piece, piece * kPiece, std::min((piece + 1) * kPiece, size));
    }
  });
}

/// In an order that does not depend on the number of threads.
double sum_of_squares(const at::Tensor& values) {
  const at::Tensor flat = values.detach().cpu().contiguous();
  const float* const data = flat.const_data_ptr<float>();
  std::vector<double> sums(static_cast<std::size_t>((flat.numel() + kPiece - 1) / kPiece));
  for_each_piece(flat.numel(), [&](std::int64_t piece, std::int64_t begin, std::int64_t end) {
    double sum = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      sum += static_cast<double>(data[i]) * static_cast<double>(data[i]);
    }
    sums[static_cast<std::size_t>(piece)] = sum;
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

/// What a step's number has to do with every parameter.
struct StepFactors {
  double gradient_share;
  double rate;          ///< over the mean's share
  double square_share;  ///< its root
};

/// On any device.
void step_by_operations(at::Tensor& value, AdamW::Moments& moments, const StepFactors& factors) {
  const at::Tensor gradient = value.grad() * factors.gradient_share;
  moments.mean.mul_(kMeanDecay).add_(gradient * (1 - kMeanDecay));
  moments.square.mul_(kSquareDecay).add_(gradient.square() * (1 - kSquareDecay));
  const at::Tensor length = (moments.square.sqrt() * (1 / factors.square_share)).add_(kEpsilon);
  value.sub_((moments.mean * factors.rate).div_(length));
}

/// The same on the CPU, in one pass.
void step_in_one_pass(at::Tensor& value, AdamW::Moments& moments, const StepFactors& factors) {
  const at::Tensor contiguous = value.grad().contiguous();
  const float* const gradients = contiguous.const_data_ptr<float>();
  float* const values = value.data_ptr<float>();
  float* const means = moments.mean.data_ptr<float>();
  float* const squares = moments.square.data_ptr<float>();
  const auto gradient_share = static_cast<float>(factors.gradient_share);
  const auto mean_decay = static_cast<float>(kMeanDecay);
  const auto new_mean = static_cast<float>(1 - kMeanDecay);
  const auto square_decay = static_cast<float>(kSquareDecay);
  const auto new_square = static_cast<float>(1 - kSquareDecay);
  const auto rate = static_cast<float>(factors.rate);
  const auto square_factor = static_cast<float>(1 / factors.square_share);
  const auto epsilon = static_cast<float>(kEpsilon);
  for_each_piece(value.numel(), [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float gradient = gradients[i] * gradient_share;
      means[i] = means[i] * mean_decay + gradient * new_mean;
      squares[i] = squares[i] * square_decay + gradient * gradient * new_square;
      values[i] -= means[i] * rate / (std::sqrt(squares[i]) * square_factor + epsilon);
    }
  });
}

}  // namespace

double gradient_norm(const std::vector<Parameter>& parameters) {
  double squares = 0;
  for (const Parameter& parameter : parameters) {
    const at::Tensor& gradient = parameter.value.grad();
    if (gradient.defined()) squares += sum_of_squares(gradient);
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
    const StepFactors factors{.gradient_share = gradient_share,
                              .rate = parameter.learning_rate * rate_share / mean_share,
                              .square_share = square_share};
    if (parameter.value.device().is_cpu() && parameter.value.is_contiguous()) {
      step_in_one_pass(parameter.value, moments_[i], factors);
    } else {
      step_by_operations(parameter.value, moments_[i], factors);
    }
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
