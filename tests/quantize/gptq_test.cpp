#include "quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "linear_algebra/product.h"
#include "linear_algebra/triangular.h"
#include "quantize/rtn.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 53;      // more than a tile
constexpr std::int64_t kColumns = 200;  // more than a block of columns; the last groups are short

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

struct Layer {
  std::vector<float> weight;        // [kRows, kColumns]
  std::vector<double> hessian;      // [kColumns, kColumns], damped by 1 %
  std::vector<double> mean_square;  // of the inputs
  std::vector<float> factor;        // in `order`
  std::vector<std::int64_t> order;

  GptqInputs inputs() const { return {factor, order, mean_square}; }
};

enum class Order { Natural, FallingMeanSquare };

std::vector<std::int64_t> make_order(const std::vector<double>& mean_square, Order order) {
  std::vector<std::int64_t> columns(mean_square.size());
  std::iota(columns.begin(), columns.end(), 0);
  if (order == Order::FallingMeanSquare) {
    std::stable_sort(columns.begin(), columns.end(), [&](std::int64_t a, std::int64_t b) {
      return mean_square[index(a)] > mean_square[index(b)];
    });
  }
  return columns;
}

// From H = V V^T, V upper, follows H^-1 = U^T U with U = V^-1; reversing rows and columns turns
// upper into lower.
std::vector<float> make_factor(const std::vector<double>& hessian,
                               const std::vector<std::int64_t>& order) {
  const auto n = static_cast<std::int64_t>(order.size());
  std::vector<double> flipped(hessian.size());
  const auto from = [&](std::int64_t i) { return order[index(n - 1 - i)]; };
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      flipped[index(i * n + j)] = hessian[index(from(i) * n + from(j))];
    }
  }
  const MatrixView<double> view{flipped.data(), n, n, n};
  REQUIRE(factor_cholesky(view, 1));
  invert_lower(view, 1);
  std::vector<float> factor(hessian.size());
  for (std::size_t i = 0; i < factor.size(); ++i) {
    factor[i] = static_cast<float>(flipped[flipped.size() - 1 - i]);
  }
  return factor;
}

// Each input is a mixture of its neighbours, of unlike size.
Layer make_layer(Order order, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Layer layer;
  layer.weight.resize(index(kRows * kColumns));
  for (float& w : layer.weight) w = static_cast<float>(normal(random) * 0.1);
  constexpr std::int64_t kTokens = 500;
  std::vector<double> mixed(index(kColumns));
  layer.hessian.assign(index(kColumns * kColumns), 0);
  for (std::int64_t token = 0; token < kTokens; ++token) {
    double carried = 0;
    for (std::int64_t i = 0; i < kColumns; ++i) {
      carried = 0.9 * carried + normal(random);
      mixed[index(i)] = carried * (0.3 + static_cast<double>(i * 7 % 11));
    }
    for (std::int64_t i = 0; i < kColumns; ++i) {
      for (std::int64_t j = 0; j < kColumns; ++j) {
        layer.hessian[index(i * kColumns + j)] += mixed[index(i)] * mixed[index(j)] / kTokens;
      }
    }
  }
  double sum = 0;
  for (std::int64_t i = 0; i < kColumns; ++i) {
    layer.mean_square.push_back(layer.hessian[index(i * (kColumns + 1))]);
    sum += layer.mean_square.back();
  }
  for (std::int64_t i = 0; i < kColumns; ++i) {
    layer.hessian[index(i * (kColumns + 1))] += 0.01 * sum / kColumns;
  }
  layer.order = make_order(layer.mean_square, order);
  layer.factor = make_factor(layer.hessian, layer.order);
  return layer;
}

// Uncorrelated inputs of equal size.
Layer make_identity_layer() {
  Layer layer = make_layer(Order::Natural);
  std::fill(layer.factor.begin(), layer.factor.end(), 0.0F);
  for (std::int64_t i = 0; i < kColumns; ++i) layer.factor[index(i * (kColumns + 1))] = 1;
  std::fill(layer.mean_square.begin(), layer.mean_square.end(), 1.0);
  return layer;
}

// A different half of each row.
std::vector<std::uint8_t> make_mask() {
  std::mt19937 random(5);
  std::vector<std::uint8_t> keep(index(kRows * kColumns));
  for (std::uint8_t& k : keep) k = random() % 2;
  return keep;
}

std::vector<QuantScheme> all_schemes() {
  std::vector<QuantScheme> schemes;
  for (const int bits : {4, 8}) {
    for (const std::int64_t group_size : {0, 32, 128}) {
      for (const Symmetry symmetry : {Symmetry::Symmetric, Symmetry::Asymmetric}) {
        schemes.push_back({.bits = bits, .group_size = group_size, .symmetry = symmetry});
      }
    }
  }
  return schemes;
}

std::string name_of(const QuantScheme& scheme) {
  return concat("INT", scheme.bits, " group ", scheme.group_size,
                scheme.symmetry == Symmetry::Symmetric ? " symmetric" : " asymmetric");
}

constexpr GptqClip kAllClips[] = {GptqClip::None, GptqClip::WeightError, GptqClip::Importance};

GptqResult run(const Layer& layer, const QuantScheme& scheme, GptqClip clip = GptqClip::None,
               const std::vector<std::uint8_t>& keep = {}, int num_threads = 1) {
  return quantize_gptq(layer.weight, kRows, kColumns, scheme, layer.inputs(), clip, keep,
                       num_threads);
}

std::vector<float> dequantize(const QuantizedMatrix& matrix) {
  std::vector<float> real(index(matrix.rows() * matrix.columns()));
  matrix.dequantize_rows(0, matrix.rows(), real);
  return real;
}

template <typename T>
std::vector<T> copy(std::span<const T> values) {
  return {values.begin(), values.end()};
}

bool same(const QuantizedMatrix& a, const QuantizedMatrix& b) {
  return copy(a.codes()) == copy(b.codes()) && copy(a.scales()) == copy(b.scales()) &&
         copy(a.zero_points()) == copy(b.zero_points());
}

/// tr(D H D^T), D the difference between `real` and the layer's weight.
double output_error(const Layer& layer, const std::vector<float>& real) {
  double error = 0;
  std::vector<double> difference(index(kColumns));
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t i = 0; i < kColumns; ++i) {
      const std::size_t at = index(r * kColumns + i);
      difference[index(i)] = static_cast<double>(real[at]) - layer.weight[at];
    }
    for (std::int64_t i = 0; i < kColumns; ++i) {
      for (std::int64_t j = 0; j < kColumns; ++j) {
        error +=
            difference[index(i)] * layer.hessian[index(i * kColumns + j)] * difference[index(j)];
      }
    }
  }
  return error;
}

TEST_CASE("inputs that are not correlated leave rounding to the nearest", "[gptq][property]") {
  const Layer layer = make_identity_layer();
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const auto rtn = [&](ClipSearch clip) {
      return quantize_rtn(layer.weight, kRows, kColumns, scheme, {.clip = clip}, 1);
    };
    CHECK(same(run(layer, scheme).matrix, rtn(ClipSearch::None)));
    CHECK(same(run(layer, scheme, GptqClip::WeightError).matrix, rtn(ClipSearch::WeightError)));
    CHECK(same(run(layer, scheme, GptqClip::Importance).matrix, rtn(ClipSearch::WeightError)));
  }
}

TEST_CASE("compensation halves the output error of rounding to the nearest", "[gptq][property]") {
  const auto order = GENERATE(Order::Natural, Order::FallingMeanSquare);
  const Layer layer = make_layer(order);
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const double rounded =
        output_error(layer, dequantize(quantize_rtn(layer.weight, kRows, kColumns, scheme, {}, 1)));
    // Neighbours are correlated by 0.9: a good third of an input's variance is its own.
    CHECK(output_error(layer, dequantize(run(layer, scheme).matrix)) < 0.5 * rounded);
  }
}

TEST_CASE("the output error that GPTQ tells is that of its result", "[gptq][property]") {
  const auto order = GENERATE(Order::Natural, Order::FallingMeanSquare);
  const Layer layer = make_layer(order);
  const auto keep = GENERATE(std::vector<std::uint8_t>{}, make_mask());
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const GptqResult result = run(layer, scheme, GptqClip::Importance, keep);
    // The recursion runs in float: 200 updates of weights up to 1000 steps of an 8-bit grid.
    CHECK(result.output_error ==
          Approx(output_error(layer, dequantize(result.matrix))).epsilon(2e-3));
  }
}

TEST_CASE("dropped weights and weights of zero become exactly zero", "[gptq][property]") {
  Layer layer = make_layer(Order::FallingMeanSquare);
  const auto clip = GENERATE(from_range(std::begin(kAllClips), std::end(kAllClips)));
  const std::vector<std::uint8_t> keep = make_mask();
  for (std::size_t i = 0; i < layer.weight.size(); i += 7) {
    layer.weight[i] = i % 2 == 0 ? 0.0F : -0.0F;
  }
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const std::vector<float> real = dequantize(run(layer, scheme, clip, keep).matrix);
    std::size_t moved_zeros = 0;
    std::size_t nonzero = 0;
    for (std::size_t i = 0; i < real.size(); ++i) {
      const bool zero = keep[i] == 0 || layer.weight[i] == 0;
      moved_zeros += zero && real[i] != 0;
      nonzero += real[i] != 0;
    }
    CHECK(moved_zeros == 0);
    CHECK(nonzero > real.size() / 4);
  }
}

TEST_CASE("dropping and rounding together loses less than rounding what was dropped before",
          "[gptq][property]") {
  const Layer layer = make_layer(Order::FallingMeanSquare);
  const std::vector<std::uint8_t> keep = make_mask();
  Layer dropped = layer;
  for (std::size_t i = 0; i < keep.size(); ++i) dropped.weight[i] *= keep[i];
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const std::vector<float> apart = dequantize(run(dropped, scheme).matrix);
    const std::vector<float> together = dequantize(run(layer, scheme, GptqClip::None, keep).matrix);
    CHECK(output_error(layer, together) < 0.7 * output_error(layer, apart));
  }
}

TEST_CASE("a column whose input was always zero is rounded to the nearest", "[gptq]") {
  constexpr std::int64_t kDead = 77;
  Layer layer = make_layer(Order::Natural);
  for (std::int64_t i = 0; i < kColumns; ++i) {
    layer.factor[index(kDead * kColumns + i)] = i == kDead ? 0.5F : 0.0F;
    if (i != kDead) layer.factor[index(i * kColumns + kDead)] = 0;
  }
  layer.mean_square[kDead] = 0;
  const QuantScheme scheme{.bits = 4, .group_size = 32};
  const QuantizedMatrix compensated = run(layer, scheme).matrix;
  const QuantizedMatrix rounded = quantize_rtn(layer.weight, kRows, kColumns, scheme, {}, 1);
  std::int64_t other_codes = 0;
  for (std::int64_t r = 0; r < kRows; ++r) {
    const std::size_t at = index(r * kColumns + kDead);
    CHECK(static_cast<int>(compensated.codes()[at]) == static_cast<int>(rounded.codes()[at]));
    other_codes += compensated.codes()[at + 5] != rounded.codes()[at + 5];
  }
  CHECK(other_codes > kRows / 4);
}

TEST_CASE("an importance search loses less than the full range", "[gptq][property]") {
  const Layer layer = make_layer(Order::FallingMeanSquare);
  for (const QuantScheme& scheme : all_schemes()) {
    if (scheme.bits == 8) continue;  // 256 codes: nothing worth clipping
    INFO(name_of(scheme));
    CHECK(run(layer, scheme, GptqClip::Importance).output_error <
          0.97 * run(layer, scheme, GptqClip::None).output_error);
  }
}

TEST_CASE("GPTQ gives the same bytes for any number of threads", "[gptq][property]") {
  const Layer layer = make_layer(Order::FallingMeanSquare);
  const std::vector<std::uint8_t> keep = make_mask();
  const QuantScheme scheme{.bits = 4, .group_size = 32, .symmetry = Symmetry::Asymmetric};
  const GptqResult one = run(layer, scheme, GptqClip::Importance, keep, 1);
  for (const int threads : {2, 3}) {
    const GptqResult other = run(layer, scheme, GptqClip::Importance, keep, threads);
    CHECK(same(one.matrix, other.matrix));
    CHECK(one.output_error == other.output_error);
    CHECK(one.num_clipped == other.num_clipped);
  }
}

TEST_CASE("GPTQ treats a row as if it were alone", "[gptq][property]") {
  const Layer layer = make_layer(Order::FallingMeanSquare);
  const QuantScheme scheme{.bits = 4, .group_size = 32};
  const QuantizedMatrix all = run(layer, scheme).matrix;
  for (const std::int64_t row : {0, 20, 47, 48, 52}) {
    const std::vector<float> weight(layer.weight.begin() + row * kColumns,
                                    layer.weight.begin() + (row + 1) * kColumns);
    const GptqResult alone =
        quantize_gptq(weight, 1, kColumns, scheme, layer.inputs(), GptqClip::None, {}, 1);
    CHECK(copy(alone.matrix.codes()) ==
          copy(all.codes().subspan(index(row * kColumns), index(kColumns))));
  }
}

TEST_CASE("extreme weights and inputs end in a finite matrix", "[gptq]") {
  Layer layer = make_layer(Order::FallingMeanSquare);
  const auto clip = GENERATE(from_range(std::begin(kAllClips), std::end(kAllClips)));
  std::fill_n(layer.weight.begin(), kColumns, 0.0F);
  layer.weight[index(3 * kColumns + 5)] = 1e3F;  // 1e4 times the rest
  std::fill_n(layer.weight.begin() + 9 * kColumns, kColumns,
              std::numeric_limits<float>::denorm_min());
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const GptqResult result = run(layer, scheme, clip);
    CHECK(std::isfinite(result.output_error));
    const std::vector<float> real = dequantize(result.matrix);
    CHECK(std::all_of(real.begin(), real.end(), [](float w) { return std::isfinite(w); }));
    CHECK(std::abs(real[index(3 * kColumns + 5)] - 1e3F) <= 150);
  }
}

TEST_CASE("GPTQ refuses a weight that is not finite by row and column", "[gptq]") {
  const auto bad =
      GENERATE(std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN());
  const auto threads = GENERATE(1, 3);
  Layer layer = make_layer(Order::Natural);
  layer.weight[index(50 * kColumns + 31)] = bad;
  layer.weight[index(12 * kColumns + 133)] = bad;
  for (const std::vector<std::uint8_t>& keep : {std::vector<std::uint8_t>{}, make_mask()}) {
    try {
      run(layer, {.bits = 4, .group_size = 32}, GptqClip::Importance, keep, threads);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::Numeric);
      CHECK(std::string(error.what()).find("weight [12, 133]") != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace edgecompress
