#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "linear_algebra/triangular.h"
#include "quantize/gptq.h"
#include "support/catch.h"

namespace edgecompress {

constexpr std::int64_t kRows = 53;      // more than a tile
constexpr std::int64_t kColumns = 200;  // more than a block of columns; the last groups are short

inline std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

struct Layer {
  std::vector<float> weight;        // [kRows, kColumns]
  std::vector<double> hessian;      // [kColumns, kColumns], damped by 1 %
  std::vector<double> mean_square;  // of the inputs
  std::vector<float> factor;        // in `order`
  std::vector<std::int64_t> order;

  GptqInputs inputs() const { return {factor, order, mean_square}; }
};

enum class Order { Natural, FallingMeanSquare };

inline std::vector<std::int64_t> make_order(const std::vector<double>& mean_square, Order order) {
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
inline std::vector<float> make_factor(const std::vector<double>& hessian,
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
inline Layer make_layer(Order order, unsigned seed = 1) {
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
inline Layer make_identity_layer() {
  Layer layer = make_layer(Order::Natural);
  std::fill(layer.factor.begin(), layer.factor.end(), 0.0F);
  for (std::int64_t i = 0; i < kColumns; ++i) layer.factor[index(i * (kColumns + 1))] = 1;
  std::fill(layer.mean_square.begin(), layer.mean_square.end(), 1.0);
  return layer;
}

// A different half of each row.
inline std::vector<std::uint8_t> make_mask() {
  std::mt19937 random(5);
  std::vector<std::uint8_t> keep(index(kRows * kColumns));
  for (std::uint8_t& k : keep) k = random() % 2;
  return keep;
}

inline std::vector<QuantScheme> all_schemes() {
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

inline std::string name_of(const QuantScheme& scheme) {
  return concat("INT", scheme.bits, " group ", scheme.group_size,
                scheme.symmetry == Symmetry::Symmetric ? " symmetric" : " asymmetric");
}

inline std::vector<float> dequantize(const QuantizedMatrix& matrix) {
  std::vector<float> real(index(matrix.rows() * matrix.columns()));
  matrix.dequantize_rows(0, matrix.rows(), real);
  return real;
}

template <typename T>
std::vector<T> copy(std::span<const T> values) {
  return {values.begin(), values.end()};
}

inline bool same(const QuantizedMatrix& a, const QuantizedMatrix& b) {
  return copy(a.codes()) == copy(b.codes()) && copy(a.scales()) == copy(b.scales()) &&
         copy(a.zero_points()) == copy(b.zero_points());
}

/// tr(D H D^T), D the difference between `real` and the layer's weight.
inline double output_error(const Layer& layer, const std::vector<float>& real) {
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

}  // namespace edgecompress
