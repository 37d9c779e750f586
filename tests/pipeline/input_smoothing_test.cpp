#include "pipeline/input_smoothing.h"

#include <cmath>
#include <numeric>
#include <span>

#include "decoder/round_activations.h"
#include "quantize/rtn.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kColumns = 32;
constexpr QuantScheme kPerChannel{.bits = 8};
constexpr ActivationScheme kPerToken{.rounding = ActivationRounding::Int8PerToken};

std::vector<std::int64_t> own_scales() {
  std::vector<std::int64_t> of_column(kColumns);
  std::iota(of_column.begin(), of_column.end(), 0);
  return of_column;
}

/// Inputs of which one is a hundred times the rest in every token.
at::Tensor inputs_with_outlier() {
  at::manual_seed(5);
  at::Tensor inputs = at::randn({200, kColumns});
  inputs.select(1, 7).mul_(100);
  return inputs;
}

InputScales search(const at::Tensor& inputs, const at::Tensor& weight,
                   const ActivationScheme& activation, const std::vector<std::int64_t>& of_column) {
  return search_smoothing(
      {{.weight = weight, .scheme = kPerChannel, .activation = activation}},
      {.largest = inputs.abs().amax(0), .sample = inputs, .scale_of_column = of_column}, 1);
}

/// Of the layer's outputs, when inputs divided by the scales and weights times them are rounded.
double rounded_error(const at::Tensor& inputs, const at::Tensor& weight, const at::Tensor& scales) {
  at::Tensor scaled = (weight * scales).contiguous();
  const std::span<float> values(scaled.data_ptr<float>(), static_cast<std::size_t>(scaled.numel()));
  quantize_rtn(values, scaled.size(0), kColumns, kPerChannel, {}, 1)
      .dequantize_rows(0, scaled.size(0), values);
  const at::Tensor read = round_activations((inputs / scales).unsqueeze(0), kPerToken).squeeze(0);
  const at::Tensor wanted = at::linear(inputs, weight);
  return (at::linear(read, scaled) - wanted).square().sum().item<double>() /
         wanted.square().sum().item<double>();
}

TEST_CASE("an outlier among the inputs is moved into the weights", "[pipeline]") {
  const at::Tensor inputs = inputs_with_outlier();
  const at::Tensor weight = at::randn({48, kColumns});
  const InputScales found = search(inputs, weight, kPerToken, own_scales());
  CHECK(found.exponent > 0);
  const float of_outlier = found.by_column[7];
  for (std::size_t i = 0; i < found.by_column.size(); ++i) {
    if (i != 7) CHECK(found.by_column[i] < of_outlier / 2);
  }
  // the error it states is that of the scales it returns, and far below that of none
  const at::Tensor scales = at::tensor(found.by_column, at::kFloat);
  CHECK(found.relative_error == Approx(rounded_error(inputs, weight, scales)).epsilon(1e-4));
  CHECK(found.relative_error < rounded_error(inputs, weight, at::ones(kColumns)) / 4);
}

TEST_CASE("a scale is what SmoothQuant's formula gives with the exponent that is stated",
          "[pipeline]") {
  const at::Tensor inputs = inputs_with_outlier();
  const at::Tensor weight = at::randn({48, kColumns});
  const std::vector<std::int64_t> of_column = own_scales();
  // with 4-bit weights it is better to leave the weights' ranges nearly as they are
  const InputScales found = search_smoothing(
      {{.weight = weight, .scheme = {.bits = 4}, .activation = kPerToken}},
      {.largest = inputs.abs().amax(0), .sample = inputs, .scale_of_column = of_column}, 1);
  REQUIRE(found.exponent > 0);
  REQUIRE(found.exponent < 0.5);  // with 0.5 the two powers could change places
  const auto unnormalized = [&](std::int64_t column) {
    const double largest_input = inputs.select(1, column).abs().max().item<double>();
    const double largest_weight = weight.select(1, column).abs().max().item<double>();
    return std::pow(largest_input, found.exponent) / std::pow(largest_weight, 1 - found.exponent);
  };
  for (std::int64_t column = 0; column < kColumns; ++column) {
    CAPTURE(column);
    const auto at = static_cast<std::size_t>(column);
    CHECK(found.by_column[at] / found.by_column[7] ==
          Approx(unnormalized(column) / unnormalized(7)).epsilon(1e-5));
  }
}

TEST_CASE("inputs without outliers that nobody rounds keep their scales when none is better",
          "[pipeline]") {
  const at::Tensor inputs = at::ones({16, kColumns});
  const at::Tensor weight = at::ones({8, kColumns});  // exact on the grid
  const InputScales found = search(inputs, weight, {}, own_scales());
  CHECK(found.exponent == 0);
  CHECK(found.by_column == std::vector<float>(kColumns, 1.0F));
}

TEST_CASE("columns that share a source share a scale", "[pipeline]") {
  std::vector<std::int64_t> of_column = own_scales();
  for (std::int64_t& scale : of_column) scale /= 2;
  const InputScales found =
      search(inputs_with_outlier(), at::randn({48, kColumns}), kPerToken, of_column);
  REQUIRE(found.exponent > 0);
  for (std::size_t i = 0; i < found.by_column.size(); i += 2) {
    CHECK(found.by_column[i] == found.by_column[i + 1]);
    if (i != 6) CHECK(found.by_column[i] < found.by_column[7] / 2);  // the larger of the two counts
  }
}

}  // namespace
}  // namespace edgecompress
