#include "onnx_export/tensor_bytes.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/parallel.h"
#include "weights/code_packing.h"
#include "weights/float_rows.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kChunkBytes = std::int64_t{16} << 20;
constexpr std::int64_t kRowsPerPiece = 16;

/// Writes rows [begin, end) of one part to `out`.
using FillRows = std::function<void(const StoredMatrix& part, std::int64_t begin, std::int64_t end,
                                    std::span<std::byte> out)>;

ByteSource rows_source(StackedMatrix matrix, std::int64_t row_bytes, int num_threads,
                       FillRows fill) {
  return [matrix = std::move(matrix), row_bytes, num_threads,
          fill = std::move(fill)](const ByteSink& sink) {
    const std::int64_t chunk_rows = std::max<std::int64_t>(1, kChunkBytes / row_bytes);
    std::vector<std::byte> buffer;
    for (const StoredMatrix& part : matrix.parts) {
      const std::int64_t rows = matrix_shape(part).out_features;
      for (std::int64_t begin = 0; begin < rows; begin += chunk_rows) {
        const std::int64_t count = std::min(chunk_rows, rows - begin);
        buffer.resize(static_cast<std::size_t>(count * row_bytes));
        parallel_for(count, kRowsPerPiece, num_threads, [&](std::int64_t from, std::int64_t to) {
          fill(part, begin + from, begin + to,
               std::span(buffer).subspan(static_cast<std::size_t>(from * row_bytes),
                                         static_cast<std::size_t>((to - from) * row_bytes)));
        });
        sink(buffer);
      }
    }
  };
}

std::span<float> as_floats(std::span<std::byte> bytes) {
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

/// Scales of rows [begin, end), [rows, groups].
std::vector<float> read_scales(const StoredQuantizedMatrix& matrix, std::int64_t begin,
                               std::int64_t end) {
  const std::int64_t groups = matrix.scheme.groups_per_row(matrix.shape.in_features);
  const auto element = static_cast<std::int64_t>(dtype_bytes(matrix.scales->dtype));
  std::vector<float> scales(static_cast<std::size_t>((end - begin) * groups));
  floats_from_bytes(matrix.scales->bytes.subspan(static_cast<std::size_t>(begin * groups * element),
                                                 scales.size() * static_cast<std::size_t>(element)),
                    matrix.scales->dtype, scales);
  for (const float scale : scales) {
    if (std::isfinite(scale)) continue;
    throw Error(ErrorKind::Malformed, "X2",
                concat("tensor ", matrix.scales->name, " holds the scale ", scale,
                       "; every scale must be finite"));
  }
  return scales;
}

/// Whether a stored row of pack-quantized codes is, byte for byte, a row of MatMulNBits.
bool rows_are_ready(const StoredQuantizedMatrix& matrix, const BlockGrid& grid) {
  return matrix.codes->dtype == DType::I32 && grid.columns % grid.block == 0 &&
         packed_row_bytes(grid.columns, matrix.scheme.bits) * 8 ==
             grid.columns * matrix.scheme.bits;
}

void pack_rows(const StoredQuantizedMatrix& matrix, const BlockGrid& grid, std::int64_t begin,
               std::int64_t end, std::span<std::byte> out) {
  const std::int64_t row_bytes = grid.blocks * grid.block * matrix.scheme.bits / 8;
  if (rows_are_ready(matrix, grid)) {
    std::ranges::copy(
        matrix.codes->bytes.subspan(static_cast<std::size_t>(begin * row_bytes), out.size()),
        out.begin());
    return;
  }
  const QuantizedMatrix rows = read_quantized_rows(matrix, begin, end);
  const std::int64_t groups = rows.scheme().groups_per_row(grid.columns);
  std::vector<std::int8_t> padded(static_cast<std::size_t>(grid.blocks * grid.block));
  for (std::int64_t row = 0; row < end - begin; ++row) {
    const auto codes = rows.codes().subspan(static_cast<std::size_t>(row * grid.columns),
                                            static_cast<std::size_t>(grid.columns));
    const std::int8_t zero =
        rows.zero_points().empty()
            ? std::int8_t{0}
            : rows.zero_points()[static_cast<std::size_t>((row + 1) * groups - 1)];
    std::fill(std::ranges::copy(codes, padded.begin()).out, padded.end(), zero);
    pack_codes(padded, matrix.scheme.bits,
               out.subspan(static_cast<std::size_t>(row * row_bytes),
                           static_cast<std::size_t>(row_bytes)));
  }
}

}  // namespace

std::int64_t StackedMatrix::rows() const {
  std::int64_t total = 0;
  for (const StoredMatrix& part : parts) total += matrix_shape(part).out_features;
  return total;
}

StackedRows read_stacked_rows(const StackedMatrix& matrix, std::int64_t begin, std::int64_t end) {
  StackedRows rows;
  std::int64_t first = 0;  // row of the stack where the part begins
  for (const StoredMatrix& part : matrix.parts) {
    const std::int64_t last = first + matrix_shape(part).out_features;
    const std::int64_t from = std::max(begin, first);
    const std::int64_t to = std::min(end, last);
    if (from < to) {
      const QuantizedMatrix read =
          read_quantized_rows(std::get<StoredQuantizedMatrix>(part), from - first, to - first);
      rows.codes.insert(rows.codes.end(), read.codes().begin(), read.codes().end());
      rows.scales.insert(rows.scales.end(), read.scales().begin(), read.scales().end());
    }
    first = last;
  }
  return rows;
}

ByteSource vector_floats(std::vector<float> values) {
  return [values = std::move(values)](const ByteSink& sink) {
    sink(std::as_bytes(std::span(values)));
  };
}

ByteSource row_floats(StackedMatrix matrix, int num_threads) {
  const auto row_bytes = matrix.columns() * static_cast<std::int64_t>(sizeof(float));
  return rows_source(std::move(matrix), row_bytes, num_threads,
                     [](const StoredMatrix& part, std::int64_t begin, std::int64_t end,
                        std::span<std::byte> out) { read_rows(part, begin, end, as_floats(out)); });
}

ByteSource nbits_codes(StackedMatrix matrix, BlockGrid grid, int num_threads) {
  const std::int64_t row_bytes = grid.blocks * grid.block * matrix.scheme().bits / 8;
  return rows_source(std::move(matrix), row_bytes, num_threads,
                     [grid](const StoredMatrix& part, std::int64_t begin, std::int64_t end,
                            std::span<std::byte> out) {
                       pack_rows(std::get<StoredQuantizedMatrix>(part), grid, begin, end, out);
                     });
}

ByteSource nbits_scales(StackedMatrix matrix, BlockGrid grid, int num_threads) {
  const auto row_bytes = grid.blocks * static_cast<std::int64_t>(sizeof(float));
  return rows_source(
      std::move(matrix), row_bytes, num_threads,
      [grid](const StoredMatrix& part, std::int64_t begin, std::int64_t end,
             std::span<std::byte> out) {
        const auto scales = read_scales(std::get<StoredQuantizedMatrix>(part), begin, end);
        const std::int64_t groups = std::ssize(scales) / (end - begin);
        const std::span<float> blocks = as_floats(out);
        for (std::int64_t row = 0; row < end - begin; ++row) {
          for (std::int64_t block = 0; block < grid.blocks; ++block) {
            blocks[static_cast<std::size_t>(row * grid.blocks + block)] =
                scales[static_cast<std::size_t>(row * groups + grid.group_of(block))];
          }
        }
      });
}

ByteSource nbits_zero_points(StackedMatrix matrix, BlockGrid grid, int num_threads) {
  const int bits = matrix.scheme().bits;
  const std::int64_t row_bytes = ceil_divide(grid.blocks * bits, 8);
  return rows_source(
      std::move(matrix), row_bytes, num_threads,
      [grid, bits, row_bytes](const StoredMatrix& part, std::int64_t begin, std::int64_t end,
                              std::span<std::byte> out) {
        const auto rows = read_quantized_rows(std::get<StoredQuantizedMatrix>(part), begin, end);
        const std::int64_t groups = rows.scheme().groups_per_row(grid.columns);
        std::ranges::fill(out, std::byte{0});
        for (std::int64_t row = 0; row < end - begin; ++row) {
          for (std::int64_t block = 0; block < grid.blocks; ++block) {
            const int code =
                rows.zero_points()[static_cast<std::size_t>(row * groups + grid.group_of(block))] -
                rows.scheme().qmin();
            const std::int64_t bit = block * bits;
            out[static_cast<std::size_t>(row * row_bytes + bit / 8)] |=
                static_cast<std::byte>(code << (bit % 8));
          }
        }
      });
}

ByteSource row_codes(StackedMatrix matrix, int num_threads) {
  const std::int64_t row_bytes = matrix.columns();
  return rows_source(
      std::move(matrix), row_bytes, num_threads,
      [](const StoredMatrix& part, std::int64_t begin, std::int64_t end, std::span<std::byte> out) {
        const auto rows = read_quantized_rows(std::get<StoredQuantizedMatrix>(part), begin, end);
        std::ranges::copy(std::as_bytes(rows.codes()), out.begin());
      });
}

ByteSource group_scales(StackedMatrix matrix, int num_threads) {
  const std::int64_t groups = matrix.scheme().groups_per_row(matrix.columns());
  const auto row_bytes = groups * static_cast<std::int64_t>(sizeof(float));
  return rows_source(
      std::move(matrix), row_bytes, num_threads,
      [](const StoredMatrix& part, std::int64_t begin, std::int64_t end, std::span<std::byte> out) {
        std::ranges::copy(read_scales(std::get<StoredQuantizedMatrix>(part), begin, end),
                          as_floats(out).begin());
      });
}

ByteSource group_zero_points(StackedMatrix matrix, int num_threads) {
  const std::int64_t row_bytes = matrix.scheme().groups_per_row(matrix.columns());
  return rows_source(
      std::move(matrix), row_bytes, num_threads,
      [](const StoredMatrix& part, std::int64_t begin, std::int64_t end, std::span<std::byte> out) {
        const auto rows = read_quantized_rows(std::get<StoredQuantizedMatrix>(part), begin, end);
        std::ranges::copy(std::as_bytes(rows.zero_points()), out.begin());
      });
}

}  // namespace edgecompress
