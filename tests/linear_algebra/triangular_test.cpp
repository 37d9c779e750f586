#include "linear_algebra/triangular.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.h"

namespace edgecompress {
namespace {

using Values = std::vector<double>;  // row-major, square

MatrixView<double> view(Values& values, std::int64_t n) { return {values.data(), n, n, n}; }

// A A^T + I of a random A: eigenvalues of at least 1.
Values make_positive(std::int64_t n) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::uniform_real_distribution<double> uniform(-1, 1);
  Values a(static_cast<std::size_t>(n * n));
  for (double& value : a) value = uniform(random);
  Values product(a.size());
  const auto at = [n](const Values& m, std::int64_t i, std::int64_t j) {
    return m[static_cast<std::size_t>(i * n + j)];
  };
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = i == j ? 1 : 0;
      for (std::int64_t k = 0; k < n; ++k) sum += at(a, i, k) * at(a, j, k);
      product[static_cast<std::size_t>(i * n + j)] = sum;
    }
  }
  return product;
}

double largest_difference_from_product(const Values& expected, const Values& left,
                                       const Values& right, std::int64_t n, bool transpose_right) {
  double largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t at = transpose_right ? j * n + k : k * n + j;
        sum += left[static_cast<std::size_t>(i * n + k)] * right[static_cast<std::size_t>(at)];
      }
      largest = std::max(largest, std::abs(sum - expected[static_cast<std::size_t>(i * n + j)]));
    }
  }
  return largest;
}

TEST_CASE("a Cholesky factor is lower triangular and its square is the matrix",
          "[linear_algebra][property]") {
  for (const std::int64_t n : {1, 5, 64, 65, 200, 331}) {
    CAPTURE(n);
    const Values matrix = make_positive(n);
    Values factor = matrix;
    for (std::int64_t i = 0; i < n; ++i) {  // only the lower triangle may be read
      for (std::int64_t j = i + 1; j < n; ++j) {
        factor[static_cast<std::size_t>(i * n + j)] = std::nan("");
      }
    }
    REQUIRE(factor_cholesky(view(factor, n), 2));
    // Backward stable: n roundings of entries up to n.
    const double size = static_cast<double>(n);
    CHECK(largest_difference_from_product(matrix, factor, factor, n, true) <=
          size * size * 0x1p-52);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = i + 1; j < n; ++j) {
        REQUIRE(factor[static_cast<std::size_t>(i * n + j)] == 0);
      }
    }
  }
}

TEST_CASE("a lower matrix times its inverse is the identity", "[linear_algebra][property]") {
  for (const std::int64_t n : {1, 5, 64, 65, 331}) {
    CAPTURE(n);
    Values factor = make_positive(n);
    REQUIRE(factor_cholesky(view(factor, n), 1));
    Values inverse = factor;
    invert_lower(view(inverse, n), 2);
    Values identity(factor.size());
    for (std::int64_t i = 0; i < n; ++i) identity[static_cast<std::size_t>(i * (n + 1))] = 1;
    CHECK(largest_difference_from_product(identity, factor, inverse, n, false) < 1e-11);
  }
}

TEST_CASE("a solution multiplied by its matrix is the right-hand side",
          "[linear_algebra][property]") {
  constexpr std::int64_t kSize = 150;
  const Values matrix = make_positive(kSize);
  Values factor = matrix;
  REQUIRE(factor_cholesky(view(factor, kSize), 1));
  Values x(kSize);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i) + 1);
  const Values right = x;
  solve_cholesky(view(factor, kSize), x.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < x.size(); ++k) sum += matrix[i * x.size() + k] * x[k];
    CHECK(std::abs(sum - right[i]) < 1e-10);
  }
}

TEST_CASE("a matrix that is not positive definite or not finite is told apart",
          "[linear_algebra]") {
  constexpr std::int64_t kSize = 100;
  const auto at = GENERATE(3, 90);
  const auto bad = GENERATE(0.0, -1.0, std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::quiet_NaN());
  Values matrix = make_positive(kSize);
  matrix[static_cast<std::size_t>(at * (kSize + 1))] = bad;
  CHECK(!factor_cholesky(view(matrix, kSize), 1));
}

TEST_CASE("factors do not depend on the number of threads", "[linear_algebra][property]") {
  constexpr std::int64_t kSize = 400;
  Values one = make_positive(kSize);
  const Values matrix = one;
  REQUIRE(factor_cholesky(view(one, kSize), 1));
  Values one_inverse = one;
  invert_lower(view(one_inverse, kSize), 1);
  for (const int threads : {2, 3}) {
    Values other = matrix;
    REQUIRE(factor_cholesky(view(other, kSize), threads));
    CHECK(one == other);
    invert_lower(view(other, kSize), threads);
    CHECK(one_inverse == other);
  }
}

}  // namespace
}  // namespace edgecompress
