#include "linear_algebra/product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kDepth = 256;  // terms of a sum; a packed panel of b stays in the L1 cache
constexpr int kTileRows = 6;          // 6 x 2 vectors of sums fit the 16 registers of AVX2
constexpr int kTileVectors = 2;
constexpr int kVectorBytes = 32;
constexpr std::int64_t kParallelRows = 96;

template <typename T>
struct Simd {
  static constexpr int kLanes = kVectorBytes / sizeof(T);
  static constexpr int kTileColumns = kTileVectors * kLanes;
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
};

/// Subtracts a tile: c [R, width] -= a [R, depth] panel [depth, kTileColumns].
template <int R, typename T>
[[gnu::always_inline]] inline void subtract_tile(MatrixView<const T> a, const T* panel,
                                                 MatrixView<T> c) {
  using Vector = typename Simd<T>::Vector;
  constexpr int kLanes = Simd<T>::kLanes;
  Vector sums[R][kTileVectors] = {};
  for (std::int64_t k = 0; k < a.columns; ++k) {
    Vector b[kTileVectors];
    std::memcpy(b, panel + k * Simd<T>::kTileColumns, sizeof(b));
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const T factor = a.row(i)[k];
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) sums[i][v] += factor * b[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    T* const out = c.row(i);
    if (c.columns == Simd<T>::kTileColumns) {
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) {
        Vector old;
        std::memcpy(&old, out + v * kLanes, sizeof(old));
        old -= sums[i][v];
        std::memcpy(out + v * kLanes, &old, sizeof(old));
      }
    } else {
      T sum[Simd<T>::kTileColumns];
      std::memcpy(sum, sums[i], sizeof(sum));
      for (std::int64_t j = 0; j < c.columns; ++j) out[j] -= sum[j];
    }
  }
}

template <typename T>
[[gnu::always_inline]] inline void subtract_panel(MatrixView<const T> a, const T* panel,
                                                  MatrixView<T> c) {
  std::int64_t i = 0;
  for (; i + kTileRows <= c.rows; i += kTileRows) {
    subtract_tile<kTileRows>(a.part(i, kTileRows, 0, a.columns), panel,
                             c.part(i, kTileRows, 0, c.columns));
  }
  for (; i < c.rows; ++i) {
    subtract_tile<1>(a.part(i, 1, 0, a.columns), panel, c.part(i, 1, 0, c.columns));
  }
}

template <typename T>
using PanelKernel = void (*)(MatrixView<const T>, const T*, MatrixView<T>);

template <typename T>
void subtract_panel_baseline(MatrixView<const T> a, const T* panel, MatrixView<T> c) {
  subtract_panel(a, panel, c);
}

#if defined(__x86_64__)
template <typename T>
[[gnu::target("avx2")]] void subtract_panel_avx2(MatrixView<const T> a, const T* panel,
                                                 MatrixView<T> c) {
  subtract_panel(a, panel, c);
}
#endif

template <typename T>
PanelKernel<T> panel_kernel() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return subtract_panel_avx2<T>;
#endif
  return subtract_panel_baseline<T>;
}

/// Copies up to kTileColumns columns of b side by side; missing ones are 0.
template <typename T>
void pack(MatrixView<const T> b, T* panel) {
  constexpr std::int64_t kWidth = Simd<T>::kTileColumns;
  for (std::int64_t k = 0; k < b.rows; ++k) {
    const T* const row = b.row(k);
    for (std::int64_t j = 0; j < b.columns; ++j) panel[k * kWidth + j] = row[j];
    std::fill(panel + k * kWidth + b.columns, panel + (k + 1) * kWidth, T{0});
  }
}

template <typename T>
void subtract(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c) {
  ensure(a.columns == b.rows && a.rows == c.rows && b.columns == c.columns,
         "factors and result of matching shapes");
  constexpr std::int64_t kWidth = Simd<T>::kTileColumns;
  static const PanelKernel<T> kernel = panel_kernel<T>();
  std::vector<T> panel(static_cast<std::size_t>(std::min(kDepth, b.rows) * kWidth));
  for (std::int64_t k = 0; k < b.rows; k += kDepth) {
    const std::int64_t depth = std::min(kDepth, b.rows - k);
    for (std::int64_t j = 0; j < b.columns; j += kWidth) {
      const std::int64_t width = std::min(kWidth, b.columns - j);
      pack<T>(b.part(k, depth, j, width), panel.data());
      kernel(a.part(0, a.rows, k, depth), panel.data(), c.part(0, c.rows, j, width));
    }
  }
}

}  // namespace

void subtract_product(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  subtract(a, b, c);
}

void subtract_product(MatrixView<const double> a, MatrixView<const double> b,
                      MatrixView<double> c) {
  subtract(a, b, c);
}

void subtract_product_parallel(MatrixView<const double> a, MatrixView<const double> b,
                               MatrixView<double> c, int num_threads) {
  parallel_for(c.rows, kParallelRows, num_threads, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t rows = end - begin;
    subtract(a.part(begin, rows, 0, a.columns), b, c.part(begin, rows, 0, c.columns));
  });
}

void subtract_multiple(float factor, const float* row, float* out, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) out[j] -= factor * row[j];
}

void subtract_multiple(double factor, const double* row, double* out, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) out[j] -= factor * row[j];
}

}  // namespace edgecompress
