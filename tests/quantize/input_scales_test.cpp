#include "quantize/input_scales.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "quantize/output_clip.h"
#include "quantize/rtn.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 24;
constexpr std::int64_t kColumns = 64;
constexpr QuantScheme kScheme{.bits = 4, .group_size = 32, .symmetry = Symmetry::Asymmetric};

struct Layer {
  std::vector<float> weight;
  std::vector<float> hessian;

  MatrixView<const float> weights() const { return {weight.data(), kRows, kColumns, kColumns}; }
  MatrixView<const float> second_moments() const {
    return {hessian.data(), kColumns, kColumns, kColumns};
  }
};

/// Inputs with correlations; every eighth one is `strength` times as large as the others.
Layer make_layer(float strength) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  Layer layer{std::vector<float>(kRows * kColumns), std::vector<float>(kColumns * kColumns)};
  for (float& w : layer.weight) w = normal(random);
  for (int token = 0; token < 300; ++token) {
    std::vector<float> x(kColumns);
    const float common = normal(random);
    for (std::int64_t i = 0; i < kColumns; ++i) {
      x[static_cast<std::size_t>(i)] =
          (normal(random) + 0.5F * common) * (i % 8 == 0 ? strength : 1.0F);
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (std::size_t j = 0; j < x.size(); ++j) {
        layer.hessian[i * kColumns + j] += x[i] * x[j] / 300;
      }
    }
  }
  return layer;
}

InputScales search(const Layer& layer, const std::vector<std::int64_t>& scale_of_column,
                   int num_threads = 1) {
  const std::vector<ScalableLayer> layers{{.weight = layer.weights(), .scheme = kScheme}};
  return search_input_scales(
      layers, {.hessian = layer.second_moments(), .scale_of_column = scale_of_column}, num_threads);
}

std::vector<std::int64_t> own_scales() {
  std::vector<std::int64_t> scales(kColumns);
  std::iota(scales.begin(), scales.end(), 0);
  return scales;
}

/// Sum over rows of d H d^T with d = matrix / scales - weight.
double lost_output(const Layer& layer, const QuantizedMatrix& matrix,
                   const std::vector<float>& scales) {
  std::vector<float> real(layer.weight.size());
  matrix.dequantize_rows(0, kRows, real);
  double lost = 0;
  for (std::size_t r = 0; r < kRows; ++r) {
    std::vector<double> d(kColumns);
    for (std::size_t i = 0; i < d.size(); ++i) {
      d[i] =
          static_cast<double>(real[r * kColumns + i]) / scales[i] - layer.weight[r * kColumns + i];
    }
    for (std::size_t i = 0; i < d.size(); ++i) {
      for (std::size_t j = 0; j < d.size(); ++j)
        lost += d[i] * d[j] * layer.hessian[i * kColumns + j];
    }
  }
  return lost;
}

double lost_with(const Layer& layer, const std::vector<float>& scales) {
  std::vector<float> scaled = layer.weight;
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= scales[i % kColumns];
  return lost_output(layer, quantize_rtn(scaled, kRows, kColumns, kScheme, {}, 1), scales);
}

TEST_CASE("strong inputs get larger scales and lose less of the output", "[quantize]") {
  const Layer layer = make_layer(12);
  const InputScales scales = search(layer, own_scales());
  CHECK(scales.exponent > 0);
  CHECK(scales.by_column[8] > 1.5 * scales.by_column[9]);
  const std::vector<float> none(kColumns, 1.0F);
  CHECK(lost_with(layer, scales.by_column) < 0.8 * lost_with(layer, none));
}

TEST_CASE("the error of the scales is what rounding with them loses", "[quantize]") {
  const Layer layer = make_layer(5);
  const InputScales scales = search(layer, own_scales());
  double energy = 0;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t i = 0; i < kColumns; ++i) {
      for (std::size_t j = 0; j < kColumns; ++j) {
        energy += static_cast<double>(layer.weight[r * kColumns + i]) *
                  layer.weight[r * kColumns + j] * layer.hessian[i * kColumns + j];
      }
    }
  }
  // All 24 rows are sampled; sums of 64 float terms are off by at most 64 * 2^-24 each.
  CHECK(scales.relative_error == Approx(lost_with(layer, scales.by_column) / energy).epsilon(1e-4));
}

TEST_CASE("columns that share a scale get one, and dead inputs a finite one", "[quantize]") {
  Layer layer = make_layer(12);
  for (std::int64_t i = 0; i < kColumns; ++i) {
    layer.hessian[static_cast<std::size_t>(5 * kColumns + i)] = 0;
    layer.hessian[static_cast<std::size_t>(i * kColumns + 5)] = 0;
  }
  std::vector<std::int64_t> shared(kColumns);
  for (std::size_t i = 0; i < shared.size(); ++i) shared[i] = static_cast<std::int64_t>(i % 16);
  const InputScales scales = search(layer, shared);
  REQUIRE(scales.exponent > 0);
  for (std::size_t i = 0; i < shared.size(); ++i) {
    CHECK(scales.by_column[i] == scales.by_column[i % 16]);
  }
  const auto usable = [](float scale) { return std::isfinite(scale) && scale > 0; };
  const std::vector<float> own = search(layer, own_scales()).by_column;
  CHECK(std::all_of(own.begin(), own.end(), usable));
  layer.hessian.assign(layer.hessian.size(), 0.0F);
  CHECK(search(layer, own_scales()).exponent == 0);
}

TEST_CASE("scales and clipped grids do not depend on the threads", "[quantize][property]") {
  const Layer layer = make_layer(7);
  CHECK(search(layer, own_scales()).by_column == search(layer, own_scales(), 3).by_column);
  const auto clipped = [&](int num_threads) {
    return quantize_output_clip(layer.weight, kRows, kColumns, kScheme, layer.second_moments(),
                                num_threads);
  };
  const QuantizedMatrix one = clipped(1);
  const QuantizedMatrix three = clipped(3);
  CHECK(std::equal(one.codes().begin(), one.codes().end(), three.codes().begin()));
  CHECK(std::equal(one.scales().begin(), one.scales().end(), three.scales().begin()));
}

TEST_CASE("a range chosen by output error loses less of each group's output", "[quantize]") {
  Layer layer = make_layer(12);
  for (std::size_t i = 0; i < layer.weight.size(); i += 7) layer.weight[i] = 0;
  // Groups as if uncorrelated with each other: what the search looks at.
  for (std::int64_t i = 0; i < kColumns; ++i) {
    for (std::int64_t j = 0; j < kColumns; ++j) {
      if (i / 32 != j / 32) layer.hessian[static_cast<std::size_t>(i * kColumns + j)] = 0;
    }
  }
  const std::vector<float> none(kColumns, 1.0F);
  const QuantizedMatrix matrix =
      quantize_output_clip(layer.weight, kRows, kColumns, kScheme, layer.second_moments(), 1);
  CHECK(lost_output(layer, matrix, none) < 0.9 * lost_with(layer, none));
  std::vector<float> real(layer.weight.size());
  matrix.dequantize_rows(0, kRows, real);
  std::size_t moved = 0;
  for (std::size_t i = 0; i < real.size(); ++i) moved += layer.weight[i] == 0 && real[i] != 0;
  CHECK(moved == 0);
}

}  // namespace
}  // namespace edgecompress
