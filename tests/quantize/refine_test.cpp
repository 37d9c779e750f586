#include "quantize/refine.h"

#include <cmath>
#include <vector>

#include "gptq_layer.h"
#include "quantize/rtn.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

std::vector<float> hessian_of(const Layer& layer) {
  return {layer.hessian.begin(), layer.hessian.end()};
}

QuantizedMatrix round_to_nearest(const Layer& layer, const QuantScheme& scheme) {
  return quantize_rtn(layer.weight, kRows, kColumns, scheme, {}, 1);
}

RefinedMatrix run(const Layer& layer, const QuantizedMatrix& start, int rounds,
                  const std::vector<std::uint8_t>& keep = {}, int num_threads = 1) {
  return refine(layer.weight, start, hessian_of(layer), layer.order, keep, rounds, num_threads);
}

TEST_CASE("every round of refinement lowers the output error, and tells it", "[refine][property]") {
  const Layer layer = make_layer(Order::FallingMeanSquare);
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const QuantizedMatrix start = quantize_gptq(layer.weight, kRows, kColumns, scheme,
                                                layer.inputs(), GptqClip::Importance, {}, 1)
                                      .matrix;
    double before = output_error(layer, dequantize(start));
    for (const int rounds : {1, 2, 3}) {
      const RefinedMatrix refined = run(layer, start, rounds);
      const double after = output_error(layer, dequantize(refined.matrix));
      CHECK(after < before);
      // The gradient is a float sum of up to 200 products and as many updates.
      CHECK(refined.output_error == Approx(after).epsilon(2e-3));
      before = after;
    }
    if (scheme.bits == 8) continue;
    CHECK(before < 0.97 * output_error(layer, dequantize(start)));
  }
}

TEST_CASE("no round leaves the matrix as it is", "[refine]") {
  const Layer layer = make_layer(Order::Natural);
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const QuantizedMatrix start = round_to_nearest(layer, scheme);
    CHECK(same(run(layer, start, 0).matrix, start));
  }
}

TEST_CASE("refined codes are the best for all others", "[refine][property]") {
  const Layer layer = make_layer(Order::Natural);
  const QuantScheme scheme{.bits = 4, .group_size = 32, .symmetry = Symmetry::Asymmetric};
  // Enough rounds to come to rest.
  const QuantizedMatrix matrix = run(layer, round_to_nearest(layer, scheme), 60).matrix;
  const std::vector<float> real = dequantize(matrix);
  const double least = output_error(layer, real);
  for (std::int64_t i = 0; i < kRows * kColumns; i += 487) {
    const std::size_t at = index(i);
    const float scale =
        matrix.scales()[index(i / kColumns * scheme.groups_per_row(kColumns) + i % kColumns / 32)];
    for (const int step : {-1, 1}) {
      const int code = matrix.codes()[at] + step;
      if (code < scheme.qmin() || code > scheme.qmax()) continue;
      std::vector<float> moved = real;
      moved[at] += static_cast<float>(step) * scale;
      CHECK(output_error(layer, moved) > least * (1 - 1e-5));
    }
  }
}

TEST_CASE("uncorrelated inputs leave codes that are nearest already", "[refine]") {
  Layer layer = make_identity_layer();
  std::fill(layer.hessian.begin(), layer.hessian.end(), 0.0);
  for (std::int64_t i = 0; i < kColumns; ++i) layer.hessian[index(i * (kColumns + 1))] = 2;
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const QuantizedMatrix matrix = run(layer, round_to_nearest(layer, scheme), 1).matrix;
    std::int64_t farther = 0;
    for (std::int64_t i = 0; i < kRows * kColumns; ++i) {
      const std::int64_t group = i % kColumns / scheme.group_length(kColumns);
      const std::int64_t of = i / kColumns * scheme.groups_per_row(kColumns) + group;
      const int zero = matrix.zero_points().empty() ? 0 : matrix.zero_points()[index(of)];
      const double steps = layer.weight[index(i)] / static_cast<double>(matrix.scales()[index(of)]);
      const int code = matrix.codes()[index(i)];
      const bool inside = code > scheme.qmin() && code < scheme.qmax();
      farther += inside && std::abs(code - zero - steps) > 0.5 + 1e-4;
    }
    CHECK(farther == 0);
  }
}

TEST_CASE("refinement keeps dropped weights and weights of zero exactly zero",
          "[refine][property]") {
  Layer layer = make_layer(Order::FallingMeanSquare);
  const std::vector<std::uint8_t> keep = make_mask();
  for (std::size_t i = 0; i < layer.weight.size(); i += 7) layer.weight[i] = 0;
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const QuantizedMatrix start = quantize_gptq(layer.weight, kRows, kColumns, scheme,
                                                layer.inputs(), GptqClip::None, keep, 1)
                                      .matrix;
    const RefinedMatrix refined = run(layer, start, 2, keep);
    const std::vector<float> real = dequantize(refined.matrix);
    std::size_t moved_zeros = 0;
    for (std::size_t i = 0; i < real.size(); ++i) {
      moved_zeros += (keep[i] == 0 || layer.weight[i] == 0) && real[i] != 0;
    }
    CHECK(moved_zeros == 0);
    CHECK(output_error(layer, real) < output_error(layer, dequantize(start)));
  }
}

TEST_CASE("refinement gives the same bytes for any number of threads", "[refine][property]") {
  const Layer layer = make_layer(Order::FallingMeanSquare);
  const QuantizedMatrix start =
      round_to_nearest(layer, {.bits = 4, .group_size = 32, .symmetry = Symmetry::Asymmetric});
  const RefinedMatrix one = run(layer, start, 2, make_mask(), 1);
  for (const int threads : {2, 3}) {
    const RefinedMatrix other = run(layer, start, 2, make_mask(), threads);
    CHECK(same(one.matrix, other.matrix));
    CHECK(one.output_error == other.output_error);
  }
}

}  // namespace
}  // namespace edgecompress
