#include "linear_algebra/product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kDepth = 256;  // terms of a sum; a packed panel of b stays in the L1 cache
constexpr std::int64_t kParallelRows = 96;

/// Two vectors of sums for each row of a tile. An element's terms are added in order, each with one
/// rounding, so that neither width nor rows show in the result.
template <int kVectorBytes, int kRows>
struct Registers {
  static constexpr int kTileRows = kRows;
  static constexpr int kTileVectors = 2;

  template <typename T>
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  template <typename T>
  static constexpr int kTileColumns = kTileVectors * kLanes<T>;
  template <typename T>
  struct Of {
    typedef T Vector __attribute__((vector_size(kVectorBytes)));
  };
};

using Wide16 = Registers<32, 6>;   // 12 of AVX2's 16 registers, 24 of NEON's 32, hold sums
using Wide32 = Registers<64, 12>;  // 24 of AVX-512's 32

/// Subtracts a tile: c [kRows, width] -= a [kRows, depth] panel [depth, kTileColumns].
template <typename R, int kRows, typename T>
[[gnu::always_inline]] inline void subtract_tile(MatrixView<const T> a, const T* panel,
                                                 MatrixView<T> c) {
  using Vector = typename R::template Of<T>::Vector;
  constexpr int kVectors = R::kTileVectors;
  constexpr int kLanes = R::template kLanes<T>;
  constexpr int kColumns = R::template kTileColumns<T>;
  Vector sums[kRows][kVectors] = {};
  for (std::int64_t k = 0; k < a.columns; ++k) {
    Vector b[kVectors];
    std::memcpy(b, panel + k * kColumns, sizeof(b));
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const T factor = a.row(i)[k];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[i][v] += factor * b[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    T* const out = c.row(i);
    if (c.columns == kColumns) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        Vector old;
        std::memcpy(&old, out + v * kLanes, sizeof(old));
        old -= sums[i][v];
        std::memcpy(out + v * kLanes, &old, sizeof(old));
      }
    } else {
      T sum[kColumns];
      std::memcpy(sum, sums[i], sizeof(sum));
      for (std::int64_t j = 0; j < c.columns; ++j) out[j] -= sum[j];
    }
  }
}

/// As many tiles of kRows rows as fit from row `first` on. Returns the row behind them.
template <typename R, int kRows, typename T>
[[gnu::always_inline]] inline std::int64_t subtract_tiles(MatrixView<const T> a, const T* panel,
                                                          MatrixView<T> c, std::int64_t first) {
  std::int64_t i = first;
  for (; i + kRows <= c.rows; i += kRows) {
    subtract_tile<R, kRows>(a.part(i, kRows, 0, a.columns), panel, c.part(i, kRows, 0, c.columns));
  }
  return i;
}

template <typename R, typename T>
[[gnu::always_inline]] inline void subtract_panel(MatrixView<const T> a, const T* panel,
                                                  MatrixView<T> c) {
  const std::int64_t after_tiles = subtract_tiles<R, R::kTileRows>(a, panel, c, 0);
  const std::int64_t after_fours = subtract_tiles<R, 4>(a, panel, c, after_tiles);
  subtract_tiles<R, 1>(a, panel, c, after_fours);
}

template <typename T>
[[gnu::always_inline]] inline void subtract_row(T factor, const T* row, T* out,
                                                std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) out[j] -= factor * row[j];
}

/// Copies columns of b side by side into rows of `width`; missing ones are 0.
template <typename T>
void pack(MatrixView<const T> b, std::int64_t width, T* panel) {
  for (std::int64_t k = 0; k < b.rows; ++k) {
    T* const out = std::copy_n(b.row(k), b.columns, panel + k * width);
    std::fill(out, panel + (k + 1) * width, T{0});
  }
}

/// What runs on one kind of CPU.
template <typename T>
struct Kernel {
  std::int64_t tile_columns;
  void (*subtract_panel)(MatrixView<const T> a, const T* panel, MatrixView<T> c);
  void (*subtract_row)(T factor, const T* row, T* out, std::int64_t count);
};

#if defined(__x86_64__)
template <typename T>
[[gnu::target("avx2,fma")]] void subtract_panel_avx2(MatrixView<const T> a, const T* panel,
                                                     MatrixView<T> c) {
  subtract_panel<Wide16>(a, panel, c);
}

template <typename T>
[[gnu::target("avx512f")]] void subtract_panel_avx512(MatrixView<const T> a, const T* panel,
                                                      MatrixView<T> c) {
  subtract_panel<Wide32>(a, panel, c);
}

template <typename T>
[[gnu::target("avx2,fma")]] void subtract_row_avx2(T factor, const T* row, T* out,
                                                   std::int64_t count) {
  subtract_row(factor, row, out, count);
}
#endif

/// edgecompress needs a CPU that multiplies and adds with one rounding.
template <typename T>
Kernel<T> kernel_of_this_cpu() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    return {Wide32::kTileColumns<T>, subtract_panel_avx512<T>, subtract_row_avx2<T>};
  }
  return {Wide16::kTileColumns<T>, subtract_panel_avx2<T>, subtract_row_avx2<T>};
#else
  return {Wide16::kTileColumns<T>, subtract_panel<Wide16, T>, subtract_row<T>};
#endif
}

template <typename T>
const Kernel<T>& kernel() {
  static const Kernel<T> kernel = kernel_of_this_cpu<T>();
  return kernel;
}

template <typename T>
void subtract(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c) {
  ensure(a.columns == b.rows && a.rows == c.rows && b.columns == c.columns,
         "factors and result of matching shapes");
  const std::int64_t most_columns = kernel<T>().tile_columns;
  std::vector<T> panel(static_cast<std::size_t>(std::min(kDepth, b.rows) * most_columns));
  for (std::int64_t k = 0; k < b.rows; k += kDepth) {
    const std::int64_t depth = std::min(kDepth, b.rows - k);
    for (std::int64_t j = 0; j < b.columns; j += most_columns) {
      const std::int64_t width = std::min(most_columns, b.columns - j);
      pack(b.part(k, depth, j, width), most_columns, panel.data());
      kernel<T>().subtract_panel(a.part(0, a.rows, k, depth), panel.data(),
                                 c.part(0, c.rows, j, width));
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
  kernel<float>().subtract_row(factor, row, out, count);
}

void subtract_multiple(double factor, const double* row, double* out, std::int64_t count) {
  kernel<double>().subtract_row(factor, row, out, count);
}

}  // namespace edgecompress
