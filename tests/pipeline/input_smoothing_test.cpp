#include "pipeline/input_smoothing.h"

#include <numeric>

#include "decoder/round_activations.h"
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
  const at::Tensor wanted = at::linear(inputs, weight);
  const double none =
      (at::linear(round_activations(inputs.unsqueeze(0), kPerToken).squeeze(0), weight) - wanted)
          .square()
          .sum()
          .item<double>() /
      wanted.square().sum().item<double>();
  CHECK(found.relative_error < none / 4);
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
  }
}

}  // namespace
}  // namespace edgecompress
