#include "quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "gptq_layer.h"
#include "quantize/rtn.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr GptqClip kAllClips[] = {GptqClip::None, GptqClip::WeightError, GptqClip::Importance};

GptqResult run(const Layer& layer, const QuantScheme& scheme, GptqClip clip = GptqClip::None,
               const std::vector<std::uint8_t>& keep = {}, int num_threads = 1) {
  return quantize_gptq(layer.weight, kRows, kColumns, scheme, layer.inputs(), clip, keep,
                       num_threads);
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
    // equal importances: the output's error is the sum of squares that this search makes small
    CHECK(run(layer, scheme, GptqClip::Importance).output_error <=
          run(layer, scheme, GptqClip::WeightError).output_error * (1 + 1e-5));
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
  std::vector<std::uint8_t> drops_it = make_mask();
  drops_it[index(12 * kColumns + 133)] = 0;
  for (const std::vector<std::uint8_t>& keep : {std::vector<std::uint8_t>{}, drops_it}) {
    try {
      run(layer, {.bits = 4, .group_size = 32}, GptqClip::Importance, keep, threads);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::Numeric);
      CHECK(std::string(error.what()).find("weight [12, 133]") != std::string::npos);
    }
  }
}

TEST_CASE("GPTQ refuses a compensation that overflows by its row", "[gptq]") {
  Layer layer = make_layer(Order::Natural);
  std::fill_n(layer.weight.begin(), 4 * kColumns, 0.0F);
  for (std::int64_t i = 1; i < kColumns; ++i) layer.factor[index(i)] = 1e38F;
  layer.factor[0] = 1e-3F;
  try {
    run(layer, {.bits = 4, .group_size = 32});
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Numeric);
    CHECK(std::string(error.what()).find("row 4 ") != std::string::npos);
  }
}

}  // namespace
}  // namespace edgecompress
