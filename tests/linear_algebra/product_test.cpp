#include "linear_algebra/product.h"

#include <chrono>
#include <cmath>
#include <iostream>
#include <random>
#include <vector>

#include "support/catch.h"

namespace edgecompress {
namespace {

template <typename T>
struct Matrix {
  Matrix(std::int64_t num_rows, std::int64_t num_columns, unsigned seed)
      : rows(num_rows),
        columns(num_columns),
        values(static_cast<std::size_t>(num_rows * num_columns)) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<T> uniform(-1, 1);
    for (T& value : values) value = uniform(random);
  }
  MatrixView<T> view() { return {values.data(), rows, columns, columns}; }

  std::int64_t rows;
  std::int64_t columns;
  std::vector<T> values;
};

// The documented order: sums of 256 terms, each from 0, each term with one rounding.
template <typename T>
void subtract_slowly(MatrixView<T> a, MatrixView<T> b, MatrixView<T> c) {
  for (std::int64_t i = 0; i < c.rows; ++i) {
    for (std::int64_t j = 0; j < c.columns; ++j) {
      for (std::int64_t begin = 0; begin < a.columns; begin += 256) {
        T sum = 0;
        for (std::int64_t k = begin; k < std::min(begin + 256, a.columns); ++k) {
          sum = std::fma(a.row(i)[k], b.row(k)[j], sum);
        }
        c.row(i)[j] -= sum;
      }
    }
  }
}

template <typename T>
void check_product(std::int64_t rows, std::int64_t depth, std::int64_t columns) {
  CAPTURE(rows, depth, columns);
  Matrix<T> a(rows, depth, 1);
  Matrix<T> b(depth, columns, 2);
  Matrix<T> c(rows, columns, 3);
  Matrix<T> expected = c;
  subtract_slowly(a.view(), b.view(), expected.view());
  subtract_product(a.view(), b.view(), c.view());
  CHECK(c.values == expected.values);
}

TEST_CASE("a product is the sums of 256 terms in order, at every ragged shape",
          "[linear_algebra]") {
  for (const std::int64_t rows : {1, 6, 12, 13, 31}) {
    for (const std::int64_t depth : {0, 1, 256, 600}) {
      for (const std::int64_t columns : {1, 8, 16, 32, 37}) {
        check_product<float>(rows, depth, columns);
        check_product<double>(rows, depth, columns);
      }
    }
  }
}

TEST_CASE("a product of parts leaves what lies outside them alone", "[linear_algebra]") {
  Matrix<double> a(20, 30, 4);
  Matrix<double> b(30, 40, 5);
  Matrix<double> c(25, 45, 6);
  Matrix<double> expected = c;
  const auto run = [&](auto& out, const auto& subtract) {
    subtract(a.view().part(2, 9, 3, 17), b.view().part(5, 17, 7, 21), out.view().part(4, 9, 6, 21));
  };
  run(expected, [](auto x, auto y, auto z) { subtract_slowly(x, y, z); });
  run(c, [](auto x, auto y, auto z) { subtract_product(x, y, z); });
  CHECK(c.values == expected.values);
}

TEST_CASE("a product is the same bytes for any number of threads", "[linear_algebra][property]") {
  Matrix<double> a(400, 300, 7);
  Matrix<double> b(300, 90, 8);
  Matrix<double> one(400, 90, 9);
  const Matrix<double> before = one;
  subtract_product(a.view(), b.view(), one.view());
  for (const int threads : {1, 2, 3}) {
    Matrix<double> other = before;
    subtract_product_parallel(a.view(), b.view(), other.view(), threads);
    CHECK(one.values == other.values);
  }
}

template <typename T>
void time_product(const char* name) {
  constexpr std::int64_t kSize = 1024;
  Matrix<T> a(kSize, kSize, 1);
  Matrix<T> b(kSize, kSize, 2);
  Matrix<T> c(kSize, kSize, 3);
  const auto start = std::chrono::steady_clock::now();
  subtract_product(a.view(), b.view(), c.view());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << name << ": " << 2e-9 * kSize * kSize * kSize / seconds.count() << " GFLOP/s\n";
}

TEST_CASE("how fast a product is", "[.benchmark]") {
  time_product<float>("float");
  time_product<double>("double");
}

}  // namespace
}  // namespace edgecompress
