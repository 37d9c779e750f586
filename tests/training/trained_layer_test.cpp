#include "training/trained_layer.h"

#include <ATen/core/grad_mode.h>

#include "quantize/rtn.h"
#include "support/catch.h"
#include "tensor/aten.h"
#include "tensor/host_values.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 6;
constexpr std::int64_t kColumns = 32;
const QuantScheme kSymmetric{.bits = 4, .group_size = 16};
const QuantScheme kAsymmetric{.bits = 4, .group_size = 16, .symmetry = Symmetry::Asymmetric};
const QuantScheme kShortGroup{.bits = 4, .group_size = 20, .symmetry = Symmetry::Asymmetric};
const TrainingOptions kTrainWeights{
    .part = TrainedPart::Weights, .learning_rate = 0.5, .code_learning_rate = 2};

std::span<const float> span_of(const at::Tensor& values) {
  return {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())};
}

QuantizedMatrix quantized(const at::Tensor& weight, const QuantScheme& scheme) {
  return quantize_rtn(span_of(weight), kRows, kColumns, scheme, {}, 1);
}

at::Tensor values_of(const WeightValue& value) {
  at::Tensor out = at::empty({kRows, kColumns});
  const auto* const codes = std::get_if<QuantizedMatrix>(&value);
  const std::span<float> room(out.data_ptr<float>(), static_cast<std::size_t>(out.numel()));
  if (codes != nullptr) {
    codes->dequantize_rows(0, kRows, room);
  } else {
    const auto& floats = std::get<std::vector<float>>(value);
    std::copy(floats.begin(), floats.end(), room.begin());
  }
  return out;
}

/// A weight with every tenth element masked.
at::Tensor masked_weight() {
  at::manual_seed(11);
  at::Tensor weight = at::randn({kRows, kColumns});
  for (std::int64_t i = 0; i < weight.numel(); i += 10) weight.data_ptr<float>()[i] = 0;
  return weight;
}

/// A quantized matrix as a folder stores it, one byte per code.
struct StoredCodes {
  QuantizedMatrix matrix;
  TensorEntry codes{"codes", DType::I8, {kRows, kColumns}, {}};
  TensorEntry scales{"scales", DType::F32, {kRows, kColumns / 16}, {}};
  TensorEntry zeros{"zeros", DType::I8, {kRows, kColumns / 16}, {}};

  explicit StoredCodes(QuantizedMatrix source) : matrix(std::move(source)) {
    codes.bytes = std::as_bytes(matrix.codes());
    scales.bytes = std::as_bytes(matrix.scales());
    zeros.bytes = std::as_bytes(matrix.zero_points());
  }
  StoredQuantizedMatrix stored() const {
    return {{kRows, kColumns},
            matrix.scheme(),
            &codes,
            &scales,
            matrix.zero_points().empty() ? nullptr : &zeros};
  }
};

/// Moves every parameter of a layer by a random step, as an optimizer might.
template <typename Layer>
void wander(Layer& layer, const TrainingOptions& options, double length) {
  const at::Tensor direction = at::randn({kRows, kColumns});
  (layer.weight() * direction).sum().backward();
  AdamW optimizer(layer.parameters(options));
  optimizer.step(length, 1);
  layer.settle();
}

TEST_CASE("every layer starts as it is stored, and stores exactly what it computes with",
          "[training][property]") {
  const at::Tensor weight = masked_weight();
  const auto check = [&](auto layer, const at::Tensor& start) {
    CHECK(layer.weight().equal(start));
    CHECK(values_of(layer.stored()).equal(start));
    for (int step = 0; step < 3; ++step) wander(layer, kTrainWeights, 0.3);
    CHECK_FALSE(layer.weight().equal(start));
    CHECK(values_of(layer.stored()).equal(layer.weight()));
    CHECK(layer.weight().masked_fill(start.ne(0), 0).count_nonzero().template item<int>() == 0);
  };
  for (const QuantScheme& scheme : {kSymmetric, kAsymmetric, kShortGroup}) {
    const QuantizedMatrix matrix = quantized(weight, scheme);
    const at::Tensor start = values_of(matrix);
    const StoredCodes stored(matrix);
    TrainingOptions options = kTrainWeights;
    check(ScaledLayer(stored.stored(), at::kCPU), start);
    check(RoundedLayer(matrix, {}, at::kCPU, options), start);
    check(RoundedLayer(matrix, weight, at::kCPU, options), start);
    options.zero_points = ZeroPoints::Trained;
    check(RoundedLayer(matrix, {}, at::kCPU, options), start);
  }
  check(FloatLayer(weight.clone(), DType::F32, ZeroWeights::Keep), weight);
}

TEST_CASE("a floating layer computes with what its type can hold", "[training]") {
  at::manual_seed(12);
  FloatLayer layer(at::randn({kRows, kColumns}), DType::BF16, ZeroWeights::Keep);
  wander(layer, kTrainWeights, 0.01);
  const at::Tensor rounded = rounded_to(values_of(layer.stored()), DType::BF16);
  CHECK(layer.weight().equal(rounded));
  CHECK_FALSE(values_of(layer.stored()).equal(rounded));  // what is trained is finer
}

TEST_CASE("zeros that may change do change", "[training]") {
  const QuantizedMatrix matrix = quantized(masked_weight(), kSymmetric);
  TrainingOptions options = kTrainWeights;
  options.zeros = ZeroWeights::Free;
  RoundedLayer layer(matrix, {}, at::kCPU, options);
  wander(layer, options, 2);
  CHECK(layer.weight().masked_fill(values_of(matrix).ne(0), 0).count_nonzero().item<int>() > 0);
}

TEST_CASE("a masked weight that moved is noticed", "[training]") {
  FloatLayer layer(masked_weight(), DType::F32, ZeroWeights::Keep);
  {
    const at::NoGradGuard no_grad;
    layer.parameters(kTrainWeights).front().value.view({-1})[10] = 1e-30F;
  }
  CHECK_THROWS_AS(layer.settle(), std::logic_error);
}

TEST_CASE("scales have LSQ's gradient", "[training][golden]") {
  // One row, one group of 16, scale 0.5, by hand. v = w / s; inside [-8, 7] the derivative of a
  // weight in the scale is round(v) - v, beyond the grid its end; of a weight in itself 1 or 0.
  const std::vector<float> w{0.1F,  0.3F,  -0.35F, 1.6F, -1.6F, 3.4F,  9.0F, -9.0F,
                             0.05F, -0.2F, 0.6F,   2.2F, -3.0F, -3.9F, 0.9F, 1.1F};
  std::vector<std::int8_t> codes;
  for (const float value : w) {
    codes.push_back(
        static_cast<std::int8_t>(std::clamp(std::nearbyint(value / 0.5F), -8.0F, 7.0F)));
  }
  const QuantizedMatrix matrix(1, 16, {.bits = 4, .group_size = 16}, codes, {0.5F}, {});
  TrainingOptions options = kTrainWeights;
  options.zeros = ZeroWeights::Free;
  RoundedLayer layer(matrix, {}, at::kCPU, options);
  const std::vector<Parameter> parameters = layer.parameters(options);
  {
    const at::NoGradGuard no_grad;
    parameters[0].value.copy_(at::tensor(w).view({1, 1, 16}) / 0.5);  // in steps
  }
  std::vector<float> direction(16);
  for (std::size_t i = 0; i < 16; ++i) direction[i] = 1.0F + 0.1F * static_cast<float>(i);
  layer.weight().backward(at::tensor(direction).view({1, 16}));

  double of_scale = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    const double v = static_cast<double>(w[i]) / 0.5;
    const bool inside = v >= -8 && v <= 7;
    const double slope = inside ? std::nearbyint(v) - v : (v > 0 ? 7.0 : -8.0);
    of_scale += slope * static_cast<double>(direction[i]);
    CHECK(parameters[0].value.grad().view({-1})[static_cast<std::int64_t>(i)].item<float>() ==
          (inside ? 0.5F * direction[i] : 0.0F));
  }
  // The parameter is the factor of the scale at the start, 0.5. 16 terms of at most 20.
  CHECK(std::abs(parameters[1].value.grad().item<double>() - 0.5 * of_scale) < 16 * 20 * 6e-8);
}

TEST_CASE("frozen codes give their scales the codes as gradient", "[training]") {
  const QuantizedMatrix matrix = quantized(masked_weight(), kAsymmetric);
  const StoredCodes stored(matrix);
  const ScaledLayer layer(stored.stored(), at::kCPU);
  const at::Tensor direction = at::randn({kRows, kColumns});
  layer.weight().backward(direction);
  // d/d factor of scale * factor * (code - zero point), summed over the group
  const at::Tensor expected =
      (values_of(matrix) * direction).to(at::kDouble).view({kRows, 2, 16}).sum(-1);
  const at::Tensor found = layer.parameters({}).front().value.grad().view({kRows, 2});
  CHECK((found - expected).abs().max().item<double>() < 16 * 20 * 6e-8);
}

TEST_CASE("a weight starts where dense has it, or in the middle of a code that is not its nearest",
          "[training]") {
  const at::Tensor weight = masked_weight();
  const at::Tensor moved = weight + 0.4 * at::randn({kRows, kColumns});
  const QuantizedMatrix matrix = quantized(moved * weight.ne(0), kSymmetric);
  TrainingOptions options = kTrainWeights;
  options.zeros = ZeroWeights::Free;
  const RoundedLayer layer(matrix, weight, at::kCPU, options);
  CHECK(layer.weight().equal(values_of(matrix)));
  const at::Tensor steps = at::tensor(matrix.scales(), at::kFloat)
                               .view({kRows, 2, 1})
                               .expand({kRows, 2, 16})
                               .reshape({kRows, kColumns});
  const at::Tensor start = layer.parameters(options).front().value.view({kRows, kColumns}) * steps;
  const at::Tensor own = ((values_of(matrix) - weight).abs() / steps).le(0.5);
  // A weight at the edge of its cell is taken a hundredth of a step inwards.
  CHECK((((start - weight).abs() / steps).le(0.011) | own.logical_not()).all().item<bool>());
  CHECK((start.sub(values_of(matrix)).abs().le(1e-6) | own).all().item<bool>());
  CHECK(own.any().item<bool>());
  CHECK_FALSE(own.all().item<bool>());
}

}  // namespace
}  // namespace edgecompress
