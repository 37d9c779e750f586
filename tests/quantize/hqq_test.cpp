#include "quantize/hqq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/error.h"
#include "quantize/rtn.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 6;
constexpr std::int64_t kColumns = 320;

// Cubes of uniform numbers off centre: a few large weights, as in a trained matrix.
std::vector<float> make_weight(unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1.2F);
  std::vector<float> weight(static_cast<std::size_t>(kRows * kColumns));
  for (float& w : weight) {
    const float u = uniform(random);
    w = u * u * u;
  }
  return weight;
}

QuantizedMatrix run(const std::vector<float>& weight, const QuantScheme& scheme,
                    int iterations = 20, int num_threads = 1) {
  return quantize_hqq(weight, kRows, kColumns, scheme, {.iterations = iterations}, num_threads);
}

double squared_error(const std::vector<float>& weight, const QuantizedMatrix& matrix) {
  std::vector<float> real(weight.size());
  matrix.dequantize_rows(0, kRows, real);
  double sum = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const double moved = static_cast<double>(weight[i]) - real[i];
    sum += moved * moved;
  }
  return sum;
}

std::vector<QuantScheme> all_schemes() {
  std::vector<QuantScheme> schemes;
  for (const int bits : {4, 8}) {
    for (const std::int64_t group_size : {0, 32, 64, 96}) {
      for (const Symmetry symmetry : {Symmetry::Symmetric, Symmetry::Asymmetric}) {
        schemes.push_back({.bits = bits, .group_size = group_size, .symmetry = symmetry});
      }
    }
  }
  return schemes;
}

/// The published iteration for one group: the scale of the full range stays, the zero point is a
/// float, the l_p norm has p = 0.7 (github.com/mobiusml/hqq, optimize.py), here in steps. Returns
/// the squared error.
double published_error(std::span<const float> group) {
  const auto [low, high] = std::minmax_element(group.begin(), group.end());
  const double scale = (static_cast<double>(*high) - *low) / 15;
  double zero = std::nearbyint(-*low / scale);
  double beta = 10;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 20; ++i, beta *= 1.01) {
    double error = 0;
    double mean = 0;
    for (const float w : group) {
      const double code = std::clamp(std::nearbyint(w / scale + zero), 0.0, 15.0);
      const double off = w / scale - (code - zero);
      const double shrunk =
          std::max(std::abs(off) - std::pow(std::abs(off) + 1e-8, -0.3) / beta, 0.0);
      mean += code - (w / scale - std::copysign(shrunk, off));
      error += off * off * scale * scale;
    }
    best = std::min(best, error);
    zero = mean / static_cast<double>(group.size());
  }
  return best;
}

TEST_CASE("hqq never has a larger weight error than round to nearest", "[quantize][property]") {
  const std::vector<float> weight = make_weight(GENERATE(1U, 2U, 3U));
  for (const QuantScheme& scheme : all_schemes()) {
    CAPTURE(scheme.bits, scheme.group_size, static_cast<int>(scheme.symmetry));
    const double rounded =
        squared_error(weight, quantize_rtn(weight, kRows, kColumns, scheme, {}, 1));
    const double fitted = squared_error(weight, run(weight, scheme));
    // The error of the chosen grid is summed in another order than here.
    CHECK(fitted <= rounded * (1 + 1e-6));
    if (scheme.bits == 4) CHECK(fitted < 0.97 * rounded);
    CHECK(squared_error(weight, run(weight, scheme, 0)) == rounded);
  }
}

TEST_CASE("hqq with a code as zero point loses less than the published method with a float one",
          "[quantize]") {
  const std::vector<float> weight = make_weight(4);
  double published = 0;
  for (std::size_t begin = 0; begin < weight.size(); begin += 64) {
    published += published_error(std::span(weight).subspan(begin, 64));
  }
  const QuantScheme scheme{.bits = 4, .group_size = 64, .symmetry = Symmetry::Asymmetric};
  CHECK(squared_error(weight, run(weight, scheme)) < published);
}

TEST_CASE("hqq keeps weights of zero at zero", "[quantize][property]") {
  std::vector<float> weight = make_weight(5);
  for (std::size_t i = 0; i < weight.size(); i += 3) weight[i] = 0;
  std::fill_n(weight.begin() + 2 * kColumns, kColumns, 0.0F);  // groups without a range
  for (const QuantScheme& scheme : all_schemes()) {
    std::vector<float> real(weight.size());
    run(weight, scheme).dequantize_rows(0, kRows, real);
    std::size_t moved = 0;
    for (std::size_t i = 0; i < weight.size(); ++i) moved += weight[i] == 0 && real[i] != 0;
    CHECK(moved == 0);
  }
}

TEST_CASE("hqq does not depend on the size of the weights nor on the threads", "[quantize]") {
  const std::vector<float> weight = make_weight(6);
  std::vector<float> small = weight;
  for (float& w : small) w *= 0x1p-12F;
  const auto codes = [](const QuantizedMatrix& matrix) {
    return std::vector<std::int8_t>(matrix.codes().begin(), matrix.codes().end());
  };
  for (const QuantScheme& scheme : all_schemes()) {
    const QuantizedMatrix matrix = run(weight, scheme);
    CHECK(codes(matrix) == codes(run(small, scheme)));
    const QuantizedMatrix again = run(weight, scheme, 20, 3);
    CHECK(codes(matrix) == codes(again));
    CHECK(std::equal(matrix.scales().begin(), matrix.scales().end(), again.scales().begin()));
  }
}

TEST_CASE("hqq survives one weight 1e4 times the rest and refuses a NaN by its place",
          "[quantize]") {
  std::vector<float> weight = make_weight(7);
  weight[kColumns + 17] = 1e4F;
  const QuantScheme scheme{.bits = 4, .group_size = 64, .symmetry = Symmetry::Asymmetric};
  CHECK(std::isfinite(squared_error(weight, run(weight, scheme))));
  weight[3 * kColumns + 5] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(run(weight, scheme), Catch::Matchers::Contains("weight [3, 5] is nan"));
}

}  // namespace
}  // namespace edgecompress
