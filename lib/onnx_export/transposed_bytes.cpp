#include <algorithm>
#include <concepts>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/parallel.h"
#include "onnx_export/tensor_bytes.h"
#include "weights/code_packing.h"
#include "weights/float_rows.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kStripBytes = std::int64_t{32} << 20;
constexpr std::int64_t kRowsPerPiece = 64;
// Columns per strip are a multiple of this, so that a strip of 4-bit codes begins at a whole word
// of a packed row and at a whole byte of the transposed tensor.
constexpr std::int64_t kColumnStep = 16;

/// Columns [begin, begin + out.size()) of one row.
void read_columns(const FloatMatrix& matrix, std::int64_t columns, std::int64_t row,
                  std::int64_t begin, std::span<float> out) {
  const auto element = static_cast<std::int64_t>(dtype_bytes(matrix.values->dtype));
  floats_from_bytes(
      matrix.values->bytes.subspan(static_cast<std::size_t>((row * columns + begin) * element),
                                   out.size() * static_cast<std::size_t>(element)),
      matrix.values->dtype, out);
}

void read_columns(const StoredQuantizedMatrix& matrix, std::int64_t columns, std::int64_t row,
                  std::int64_t begin, std::span<std::int8_t> out) {
  const std::span<const std::byte> bytes = matrix.codes->bytes;
  if (matrix.codes->dtype == DType::I8) {
    const auto part = bytes.subspan(static_cast<std::size_t>(row * columns + begin), out.size());
    std::ranges::copy(part, std::as_writable_bytes(out).begin());
    return;
  }
  const int bits = matrix.scheme.bits;
  const std::int64_t offset = row * packed_row_bytes(columns, bits) + begin * bits / 8;
  unpack_codes(bytes.subspan(static_cast<std::size_t>(offset),
                             static_cast<std::size_t>(packed_row_bytes(std::ssize(out), bits))),
               bits, out);
}

/// Gives `strip(columns of one strip, rows)` for every strip of columns, in order.
template <typename T, typename Part>
void for_each_strip(const StackedMatrix& matrix, int num_threads,
                    const std::function<void(std::span<const T>)>& strip) {
  const std::int64_t rows = matrix.rows();
  const std::int64_t columns = matrix.columns();
  const std::int64_t fitting = kStripBytes / (rows * static_cast<std::int64_t>(sizeof(T)));
  const std::int64_t width = std::max(fitting / kColumnStep * kColumnStep, kColumnStep);
  std::vector<T> transposed;
  for (std::int64_t begin = 0; begin < columns; begin += width) {
    const std::int64_t count = std::min(width, columns - begin);
    transposed.resize(static_cast<std::size_t>(count * rows));
    std::int64_t first_row = 0;
    for (const StoredMatrix& stored : matrix.parts) {
      const Part& part = std::get<Part>(stored);
      const std::int64_t part_rows = matrix_shape(stored).out_features;
      parallel_for(part_rows, kRowsPerPiece, num_threads, [&](std::int64_t from, std::int64_t to) {
        std::vector<T> tile(static_cast<std::size_t>((to - from) * count));
        for (std::int64_t row = from; row < to; ++row) {
          read_columns(part, columns, row, begin,
                       std::span(tile).subspan(static_cast<std::size_t>((row - from) * count),
                                               static_cast<std::size_t>(count)));
        }
        for (std::int64_t column = 0; column < count; ++column) {
          T* out = transposed.data() + column * rows + first_row;
          for (std::int64_t row = from; row < to; ++row) {
            out[row] = tile[static_cast<std::size_t>((row - from) * count + column)];
          }
        }
      });
      first_row += part_rows;
    }
    strip(transposed);
  }
}

/// Two signed codes to a byte, low half first; an odd last one with a 0 above it.
std::vector<std::byte> pack_int4(std::span<const std::int8_t> codes, int num_threads) {
  std::vector<std::byte> packed((codes.size() + 1) / 2);
  constexpr std::int64_t kBytesPerPiece = 1 << 16;
  parallel_for(
      std::ssize(packed), kBytesPerPiece, num_threads, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
          const int low = codes[2 * i] & 15;
          const int high = 2 * i + 1 < codes.size() ? codes[2 * i + 1] & 15 : 0;
          packed[i] = static_cast<std::byte>(low | high << 4);
        }
      });
  return packed;
}

void give_codes(std::span<const std::int8_t> codes, int bits, int num_threads,
                const ByteSink& sink) {
  if (bits == 4) {
    sink(pack_int4(codes, num_threads));
  } else {
    sink(std::as_bytes(codes));
  }
}

/// All bytes of `source`; for the small companions of a matrix only.
template <typename T>
std::vector<T> collect(const ByteSource& source) {
  std::vector<T> values;
  source([&](std::span<const std::byte> bytes) {
    const auto* first = reinterpret_cast<const T*>(bytes.data());
    values.insert(values.end(), first, first + bytes.size() / sizeof(T));
  });
  return values;
}

/// [rows, groups] to [blocks, rows].
template <typename T>
std::vector<T> transpose_groups(const std::vector<T>& values, std::int64_t rows,
                                const BlockGrid& grid) {
  const std::int64_t groups = std::ssize(values) / rows;
  std::vector<T> transposed(static_cast<std::size_t>(grid.blocks * rows));
  for (std::int64_t block = 0; block < grid.blocks; ++block) {
    for (std::int64_t row = 0; row < rows; ++row) {
      transposed[static_cast<std::size_t>(block * rows + row)] =
          values[static_cast<std::size_t>(row * groups + grid.group_of(block))];
    }
  }
  return transposed;
}

}  // namespace

ByteSource transposed_floats(StackedMatrix matrix, int num_threads) {
  return [matrix = std::move(matrix), num_threads](const ByteSink& sink) {
    for_each_strip<float, FloatMatrix>(
        matrix, num_threads, [&](std::span<const float> strip) { sink(std::as_bytes(strip)); });
  };
}

ByteSource transposed_codes(StackedMatrix matrix, int num_threads) {
  return [matrix = std::move(matrix), num_threads](const ByteSink& sink) {
    for_each_strip<std::int8_t, StoredQuantizedMatrix>(
        matrix, num_threads, [&](std::span<const std::int8_t> strip) {
          give_codes(strip, matrix.scheme().bits, num_threads, sink);
        });
  };
}

ByteSource transposed_scales(StackedMatrix matrix, BlockGrid grid, int num_threads) {
  return [matrix = std::move(matrix), grid, num_threads](const ByteSink& sink) {
    const auto scales = collect<float>(group_scales(matrix, num_threads));
    sink(std::as_bytes(std::span<const float>(transpose_groups(scales, matrix.rows(), grid))));
  };
}

ByteSource transposed_zero_points(StackedMatrix matrix, BlockGrid grid, int num_threads) {
  return [matrix = std::move(matrix), grid, num_threads](const ByteSink& sink) {
    const auto zeros = collect<std::int8_t>(group_zero_points(matrix, num_threads));
    give_codes(transpose_groups(zeros, matrix.rows(), grid), matrix.scheme().bits, num_threads,
               sink);
  };
}

}  // namespace edgecompress
