#include "weights/quantized_matrix.h"

#include <limits>
#include <stdexcept>

#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr QuantScheme kGrouped{4, 3, Symmetry::Asymmetric};  // 5 columns: groups of 3 and 2

/// 2 rows, every code, scale and zero point different.
QuantizedMatrix sample() {
  return {2,
          5,
          kGrouped,
          {-8, -7, -6, -5, -4, 3, 4, 5, 6, 7},
          {0.5F, 2.0F, -0.25F, 1.0F},
          {1, -2, 0, 7}};
}

TEST_CASE("real = scale * (code - zero point), group by group", "[weights]") {
  std::vector<float> out(10);
  sample().dequantize_rows(0, 2, out);
  CHECK(out ==
        std::vector<float>{-4.5F, -4.0F, -3.5F, -6.0F, -4.0F, -0.75F, -1.0F, -1.25F, -1.0F, 0.0F});
}

TEST_CASE("a weight is zero where its code is the zero point", "[weights]") {
  CHECK(sample().count_zeros() == 1);
  CHECK(QuantizedMatrix(2, 3, {8, 0, Symmetry::Symmetric}, {0, 127, 1, 0, 0, 4}, {0.5F, 3.0F}, {})
            .count_zeros() == 3);
}

TEST_CASE("some rows are the rows of all", "[weights]") {
  std::vector<float> out(5);
  sample().dequantize_rows(1, 2, out);
  CHECK(out == std::vector<float>{-0.75F, -1.0F, -1.25F, -1.0F, 0.0F});
  CHECK_THROWS_AS(sample().dequantize_rows(1, 3, out), std::logic_error);
  CHECK_THROWS_AS(sample().dequantize_rows(0, 2, out), std::logic_error);
}

TEST_CASE("a row without groups has one scale and no zero point", "[weights]") {
  const QuantizedMatrix matrix(2, 3, {8, 0, Symmetry::Symmetric}, {-128, 127, 1, 2, 3, 4},
                               {0.5F, 3.0F}, {});
  std::vector<float> out(6);
  matrix.dequantize_rows(0, 2, out);
  CHECK(out == std::vector<float>{-64.0F, 63.5F, 0.5F, 6.0F, 9.0F, 12.0F});
}

TEST_CASE("a matrix that breaks its invariants cannot be made", "[weights]") {
  const float infinity = std::numeric_limits<float>::infinity();
  const QuantScheme scheme{4, 2, Symmetry::Asymmetric};
  const QuantScheme symmetric{4, 2, Symmetry::Symmetric};
  using Codes = std::vector<std::int8_t>;
  using Scales = std::vector<float>;
  const auto make = [](const QuantScheme& s, const Codes& c, const Scales& r, const Codes& z) {
    return QuantizedMatrix(1, 4, s, c, r, z);
  };
  CHECK_NOTHROW(make(scheme, {1, 2, 3, 7}, {1, 2}, {0, -8}));
  CHECK_THROWS_AS(make(scheme, {1, 2, 3}, {1, 2}, {0, 1}), std::logic_error);
  CHECK_THROWS_AS(make(scheme, {1, 2, 3, 8}, {1, 2}, {0, 1}), std::logic_error);
  CHECK_THROWS_AS(make(scheme, {1, 2, 3, -9}, {1, 2}, {0, 1}), std::logic_error);
  CHECK_THROWS_AS(make(scheme, {1, 2, 3, 4}, {1}, {0, 1}), std::logic_error);
  CHECK_THROWS_AS(make(scheme, {1, 2, 3, 4}, {1, 0}, {0, 1}), std::logic_error);
  CHECK_THROWS_AS(make(scheme, {1, 2, 3, 4}, {1, infinity}, {0, 1}), std::logic_error);
  CHECK_THROWS_AS(make(scheme, {1, 2, 3, 4}, {1, 2}, {}), std::logic_error);
  CHECK_THROWS_AS(make(scheme, {1, 2, 3, 4}, {1, 2}, {0, 9}), std::logic_error);
  CHECK_THROWS_AS(make(symmetric, {1, 2, 3, 4}, {1, 2}, {0, 1}), std::logic_error);
  CHECK_THROWS_AS(make({5, 2, Symmetry::Symmetric}, {1, 2, 3, 4}, {1, 2}, {}), std::logic_error);
}

TEST_CASE("the grid and the groups of a scheme", "[weights]") {
  CHECK(QuantScheme{4, 0, Symmetry::Symmetric}.qmin() == -8);
  CHECK(QuantScheme{8, 0, Symmetry::Symmetric}.qmax() == 127);
  CHECK(kGrouped.groups_per_row(6) == 2);
  CHECK(kGrouped.groups_per_row(7) == 3);
  CHECK(QuantScheme{4, 0, Symmetry::Symmetric}.groups_per_row(100) == 1);
}

}  // namespace
}  // namespace edgecompress
