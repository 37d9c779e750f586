#include "pipeline/input_smoothing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "decoder/round_activations.h"
#include "quantize/rtn.h"
#include "tensor/aten.h"
#include "tensor/linear.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kSampledRows = 256;
constexpr int kExponents = 20;
// A column that is (almost) never there must not get a scale that moves its weights out of range.
constexpr double kSmallestShare = 1e-4;

/// x W^T, [tokens, rows], the same bytes for any number of threads.
at::Tensor outputs_of(const at::Tensor& inputs, const at::Tensor& weight) {
  return stable_product(inputs, weight.t());
}

/// Some rows of a layer, and what their outputs lose when both sides are rounded.
class SmoothedSample {
 public:
  SmoothedSample(const SmoothedLayer& layer, const at::Tensor& inputs, int num_threads)
      : scheme_(layer.scheme), activation_(layer.activation), num_threads_(num_threads) {
    const std::int64_t all = layer.weight.size(0);
    const std::int64_t count = std::min(all, kSampledRows);
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < count; ++i) rows.push_back(i * all / count);
    weight_ = layer.weight.index_select(0, at::tensor(rows, at::kLong));
    wanted_ = outputs_of(inputs, weight_);
    energy_ = ordered_sum(wanted_.square());
  }

  double relative_error(const at::Tensor& inputs, const at::Tensor& scales) const {
    if (!(energy_ > 0)) return 0;  // the layer gives nothing, whatever its weights are
    const at::Tensor read =
        round_activations((inputs / scales).unsqueeze(0), activation_).squeeze(0);
    const at::Tensor found = outputs_of(read, rounded((weight_ * scales).contiguous()));
    return ordered_sum((found - wanted_).square()) / energy_;
  }

 private:
  at::Tensor rounded(at::Tensor weight) const {
    const std::int64_t rows = weight.size(0);
    const std::span<float> values(weight.data_ptr<float>(),
                                  static_cast<std::size_t>(weight.numel()));
    quantize_rtn(values, rows, weight.size(1), scheme_, {}, num_threads_)
        .dequantize_rows(0, rows, values);
    return weight;
  }

  QuantScheme scheme_;
  ActivationScheme activation_;
  int num_threads_;
  at::Tensor weight_;
  at::Tensor wanted_;
  double energy_ = 0;
};

/// The largest of the columns of each scale, none below a share of all.
std::vector<double> largest_by_scale(const at::Tensor& by_column,
                                     std::span<const std::int64_t> scale_of_column) {
  const at::Tensor host = by_column.contiguous();
  const std::int64_t count = *std::max_element(scale_of_column.begin(), scale_of_column.end()) + 1;
  std::vector<double> largest(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < scale_of_column.size(); ++i) {
    double& of_scale = largest[static_cast<std::size_t>(scale_of_column[i])];
    of_scale = std::max(of_scale, static_cast<double>(host.data_ptr<float>()[i]));
  }
  const double all = *std::max_element(largest.begin(), largest.end());
  for (double& of_scale : largest) of_scale = std::max(of_scale, kSmallestShare * all);
  return largest;
}

struct Ranges {
  std::vector<double> inputs;   ///< by scale
  std::vector<double> weights;  ///< by scale
};

std::vector<float> scales_of(const Ranges& ranges, double exponent,
                             std::span<const std::int64_t> scale_of_column) {
  std::vector<double> by_scale;
  for (std::size_t i = 0; i < ranges.inputs.size(); ++i) {
    by_scale.push_back(std::pow(ranges.inputs[i], exponent) /
                       std::pow(ranges.weights[i], 1 - exponent));
  }
  const auto [least, largest] = std::minmax_element(by_scale.begin(), by_scale.end());
  const double middle = std::sqrt(*least) * std::sqrt(*largest);
  std::vector<float> scales;
  for (const std::int64_t scale : scale_of_column) {
    scales.push_back(static_cast<float>(by_scale[static_cast<std::size_t>(scale)] / middle));
  }
  return scales;
}

at::Tensor largest_weights(const std::vector<SmoothedLayer>& layers) {
  at::Tensor largest;
  for (const SmoothedLayer& layer : layers) {
    const at::Tensor of_layer = layer.weight.abs().amax(0);
    largest = largest.defined() ? at::maximum(largest, of_layer) : of_layer;
  }
  return largest;
}

}  // namespace

InputScales search_smoothing(const std::vector<SmoothedLayer>& layers,
                             const SmoothingInputs& inputs, int num_threads) {
  ensure(!layers.empty() && inputs.sample.defined(), "layers, and a sample of their inputs");
  std::vector<SmoothedSample> samples;
  for (const SmoothedLayer& layer : layers) samples.emplace_back(layer, inputs.sample, num_threads);
  const auto error_of = [&](const std::vector<float>& scales) {
    const at::Tensor by_column = at::tensor(scales, at::kFloat);
    double error = 0;
    for (const SmoothedSample& sample : samples) {
      error += sample.relative_error(inputs.sample, by_column);
    }
    return error;
  };
  InputScales best{.by_column = std::vector<float>(inputs.scale_of_column.size(), 1.0F)};
  best.relative_error = error_of(best.by_column);
  const Ranges ranges{.inputs = largest_by_scale(inputs.largest, inputs.scale_of_column),
                      .weights = largest_by_scale(largest_weights(layers), inputs.scale_of_column)};
  const bool can_scale = ranges.inputs.front() > 0 && ranges.weights.front() > 0;
  for (int i = 1; i <= (can_scale ? kExponents : 0); ++i) {
    const double exponent = static_cast<double>(i) / kExponents;
    std::vector<float> scales = scales_of(ranges, exponent, inputs.scale_of_column);
    const double error = error_of(scales);
    if (!(error < best.relative_error)) continue;
    best = {.by_column = std::move(scales), .exponent = exponent, .relative_error = error};
  }
  return best;
}

}  // namespace edgecompress
