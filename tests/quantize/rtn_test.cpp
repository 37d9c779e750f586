#include "quantize/rtn.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "quantize/rtn.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 7;
constexpr std::int64_t kColumns = 300;  // no group size below divides it: the last group is short

// Cubes of uniform numbers: most are small, a few large, as in a trained matrix.
std::vector<float> make_weight(std::int64_t count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> weight(static_cast<std::size_t>(count));
  for (float& w : weight) {
    const float u = uniform(random);
    w = u * u * u;
  }
  return weight;
}

std::vector<QuantScheme> all_schemes() {
  std::vector<QuantScheme> schemes;
  for (const int bits : {4, 8}) {
    for (const std::int64_t group_size : {0, 32, 64, 128, 256}) {
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

QuantizedMatrix run(const std::vector<float>& weight, const QuantScheme& scheme,
                    ClipSearch clip = ClipSearch::None, std::int64_t rows = kRows,
                    int num_threads = 1) {
  const auto columns = static_cast<std::int64_t>(weight.size()) / rows;
  return quantize_rtn(weight, rows, columns, scheme, RtnOptions{.clip = clip}, num_threads);
}

std::vector<float> dequantize(const QuantizedMatrix& matrix) {
  std::vector<float> real(static_cast<std::size_t>(matrix.rows() * matrix.columns()));
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

/// What a clip search makes small.
double clip_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += std::pow(std::abs(static_cast<double>(a[i]) - b[i]), 2.4);
  }
  return sum;
}

TEST_CASE("codes lie in the grid and weights of zero stay zero", "[quantize][property]") {
  const auto clip = GENERATE(ClipSearch::None, ClipSearch::WeightError);
  std::vector<float> weight = make_weight(kRows * kColumns);
  for (std::size_t i = 0; i < weight.size(); i += 3) weight[i] = i % 2 == 0 ? 0.0F : -0.0F;
  std::fill_n(weight.begin() + 2 * kColumns, kColumns, 0.0F);  // whole groups without a range
  const std::vector<float> before = weight;
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const QuantizedMatrix matrix = run(weight, scheme, clip);
    const auto in_grid = [&](int code) { return code >= scheme.qmin() && code <= scheme.qmax(); };
    CHECK(std::all_of(matrix.codes().begin(), matrix.codes().end(), in_grid));
    const std::vector<float> real = dequantize(matrix);
    std::size_t moved_zeros = 0;
    for (std::size_t i = 0; i < weight.size(); ++i) moved_zeros += weight[i] == 0 && real[i] != 0;
    CHECK(moved_zeros == 0);
  }
  CHECK(weight == before);
}

TEST_CASE("rounding moves no weight by more than half a step", "[quantize][property]") {
  const std::vector<float> weight = make_weight(kRows * kColumns);
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const QuantizedMatrix matrix = run(weight, scheme);
    const std::vector<float> real = dequantize(matrix);
    const std::int64_t groups = scheme.groups_per_row(kColumns);
    double largest = 0;
    for (std::int64_t i = 0; i < kRows * kColumns; ++i) {
      const std::int64_t group = i % kColumns / scheme.group_length(kColumns);
      const double step = matrix.scales()[static_cast<std::size_t>(i / kColumns * groups + group)];
      const auto at = static_cast<std::size_t>(i);
      double moved = std::abs((weight[at] - static_cast<double>(real[at])) / step);
      // The end opposite to the extreme has code 7, up to one step from its weight.
      const bool far_end =
          scheme.bits == 4 && scheme.symmetry == Symmetry::Symmetric && weight[at] / step > 7.5;
      if (far_end) moved -= 0.5;
      largest = std::max(largest, moved);
    }
    // Up to 255 steps, divided and multiplied back in float: 255 * 2 roundings of 2^-24 each.
    CHECK(largest <= 0.5 + 255 * 0x1p-23);
    CHECK(largest > 0.45);
  }
}

TEST_CASE("symmetric rounding twice is rounding once", "[quantize][property]") {
  const std::vector<float> weight = make_weight(kRows * kColumns);
  for (const QuantScheme& scheme : all_schemes()) {
    if (scheme.symmetry == Symmetry::Asymmetric) continue;
    INFO(name_of(scheme));
    const QuantizedMatrix once = run(weight, scheme);
    const QuantizedMatrix twice = run(dequantize(once), scheme);
    CHECK(copy(once.codes()) == copy(twice.codes()));
    // The extreme is scale * 2^3, exact, or scale * 127, rounded to float once.
    const double ulps = scheme.bits == 4 ? 0 : 1;
    for (std::size_t i = 0; i < once.scales().size(); ++i) {
      const double difference = static_cast<double>(once.scales()[i]) - twice.scales()[i];
      CHECK(std::abs(difference) <= ulps * 0x1p-23 * std::abs(once.scales()[i]));
    }
  }
}

TEST_CASE("four symmetric bits use the whole grid with a signed scale", "[quantize]") {
  const QuantScheme scheme{.bits = 4, .group_size = 32};
  std::vector<float> weight(64, 0.0F);
  weight[0] = 2.0F, weight[1] = -0.75F, weight[2] = 0.3F;     // step -1/4
  weight[32] = 0.75F, weight[33] = -1.0F, weight[34] = 1.0F;  // step 1/8; the far end clips
  const QuantizedMatrix matrix = run(weight, scheme, ClipSearch::None, 1);
  CHECK(copy(matrix.scales()) == std::vector<float>{-0.25F, 0.125F});
  CHECK(static_cast<int>(matrix.codes()[0]) == -8);
  CHECK(static_cast<int>(matrix.codes()[1]) == 3);
  CHECK(static_cast<int>(matrix.codes()[2]) == -1);
  CHECK(static_cast<int>(matrix.codes()[32]) == 6);
  CHECK(static_cast<int>(matrix.codes()[33]) == -8);
  CHECK(static_cast<int>(matrix.codes()[34]) == 7);
}

TEST_CASE("halves round to the even code", "[quantize]") {
  const std::vector<float> weight{127.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F};  // step 1
  const QuantizedMatrix matrix = run(weight, {.bits = 8}, ClipSearch::None, 1);
  CHECK(copy(matrix.scales()) == std::vector<float>{1.0F});
  CHECK(copy(matrix.codes()) == std::vector<std::int8_t>{127, 0, 2, 2, 0, -2, -2});
}

TEST_CASE("an asymmetric range includes zero and has an integer zero point", "[quantize]") {
  const QuantScheme scheme{.bits = 4, .symmetry = Symmetry::Asymmetric};
  SECTION("both signs: the step is a fifteenth of the range") {
    const QuantizedMatrix matrix = run({-1.0F, 2.75F, 0.3F}, scheme, ClipSearch::None, 1);
    CHECK(copy(matrix.scales()) == std::vector<float>{0.25F});
    CHECK(copy(matrix.zero_points()) == std::vector<std::int8_t>{-4});
    CHECK(copy(matrix.codes()) == std::vector<std::int8_t>{-8, 7, -3});
  }
  SECTION("all positive: zero is the lowest code") {
    const QuantizedMatrix matrix = run({3.75F, 1.1F, 2.0F}, scheme, ClipSearch::None, 1);
    CHECK(copy(matrix.scales()) == std::vector<float>{0.25F});
    CHECK(copy(matrix.zero_points()) == std::vector<std::int8_t>{-8});
    CHECK(copy(matrix.codes()) == std::vector<std::int8_t>{7, -4, 0});
  }
  SECTION("all negative: zero is the highest code") {
    const QuantizedMatrix matrix = run({-3.75F, -1.1F, -2.0F}, scheme, ClipSearch::None, 1);
    CHECK(copy(matrix.zero_points()) == std::vector<std::int8_t>{7});
    CHECK(copy(matrix.codes()) == std::vector<std::int8_t>{-8, 3, -1});
  }
}

TEST_CASE("a group is quantized as if it were alone", "[quantize][property]") {
  const std::vector<float> weight = make_weight(kColumns);
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const auto length = static_cast<std::size_t>(scheme.group_length(kColumns));
    const std::size_t begin = (weight.size() - 1) / length * length;  // of the last, short group
    const QuantizedMatrix whole = run(weight, scheme, ClipSearch::WeightError, 1);
    const std::vector<float> tail(weight.begin() + static_cast<std::ptrdiff_t>(begin),
                                  weight.end());
    const QuantizedMatrix alone = run(tail, scheme, ClipSearch::WeightError, 1);
    CHECK(whole.scales().back() == alone.scales().back());
    CHECK(copy(whole.codes().subspan(begin)) == copy(alone.codes()));
  }
}

TEST_CASE("permuting rows permutes the result", "[quantize][property]") {
  const auto clip = GENERATE(ClipSearch::None, ClipSearch::WeightError);
  const std::vector<float> weight = make_weight(kRows * kColumns);
  std::vector<float> rotated = weight;  // row r of `weight` is row r - 2, cyclically
  std::rotate(rotated.begin(), rotated.begin() + 2 * kColumns, rotated.end());
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    std::vector<std::int8_t> codes = copy(run(weight, scheme, clip).codes());
    std::rotate(codes.begin(), codes.begin() + 2 * kColumns, codes.end());
    CHECK(codes == copy(run(rotated, scheme, clip).codes()));
  }
}

TEST_CASE("the result is the same for any number of threads", "[quantize][property]") {
  const auto clip = GENERATE(ClipSearch::None, ClipSearch::WeightError);
  constexpr std::int64_t kManyRows = 300;  // more than one piece of work per thread
  const std::vector<float> weight = make_weight(kManyRows * 1500);
  const QuantScheme scheme{.bits = 4, .group_size = 64, .symmetry = Symmetry::Asymmetric};
  const QuantizedMatrix one = run(weight, scheme, clip, kManyRows, 1);
  CHECK(same(one, run(weight, scheme, clip, kManyRows, 2)));
  CHECK(same(one, run(weight, scheme, clip, kManyRows, 3)));
}

TEST_CASE("a clip search never increases the weight error", "[quantize][property]") {
  const std::vector<float> weight = make_weight(kRows * kColumns);
  for (const QuantScheme& scheme : all_schemes()) {
    INFO(name_of(scheme));
    const double full = clip_error(weight, dequantize(run(weight, scheme)));
    const double searched =
        clip_error(weight, dequantize(run(weight, scheme, ClipSearch::WeightError)));
    CHECK(searched <= full * (1 + 2e-4));  // the search's powers are exact to 9e-5
    // Of 7 rows on 16 codes some row gains; on 256 codes the full range may be the best everywhere.
    if (scheme.bits == 4) CHECK(searched < 0.999 * full);
  }
}

TEST_CASE("a clip search gives up an outlier for the other weights", "[quantize]") {
  std::vector<float> weight = make_weight(4096);
  weight[17] = 1.7F;
  const QuantScheme scheme{.bits = 4};
  CHECK(std::abs(run(weight, scheme, ClipSearch::WeightError, 1).scales()[0]) < 0.9 * 1.7 / 8);
}

TEST_CASE("the smallest and largest floats have a usable scale", "[quantize]") {
  const auto clip = GENERATE(ClipSearch::None, ClipSearch::WeightError);
  constexpr float kLargest = std::numeric_limits<float>::max();
  constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
  for (QuantScheme scheme : all_schemes()) {
    INFO(name_of(scheme));
    scheme.group_size = 0;
    const auto scale = [&](const std::vector<float>& weight) {
      return std::abs(run(weight, scheme, clip, 1).scales()[0]);
    };
    CHECK(std::isnormal(scale({kSmallest, -3 * kSmallest, 0})));
    CHECK(std::isnormal(scale({kLargest, -kLargest, 1})));
  }
}

TEST_CASE("a weight that is not finite is refused by row and column", "[quantize]") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto threads = GENERATE(1, 3);
  constexpr std::int64_t kManyRows = 300;
  std::vector<float> weight = make_weight(kManyRows * 1500);
  for (const float bad : {kInfinity, -kInfinity, kNan, -kNan}) {
    weight[120 * 1500 + 1301] = bad;
    weight[120 * 1500 + 1302] = bad;
    weight[299 * 1500 + 2] = bad;
    for (const QuantScheme& scheme : all_schemes()) {
      INFO(bad << ", " << name_of(scheme));
      try {
        run(weight, scheme, ClipSearch::None, kManyRows, threads);
        FAIL("accepted");
      } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::Numeric);
        CHECK(std::string(error.what()).find("weight [120, 1301]") != std::string::npos);
      }
    }
  }
}

}  // namespace
}  // namespace edgecompress
