#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/parallel.h"
#include "checkpoint/file_kind.h"
#include "llama/model_folder.h"
#include "weights/code_packing.h"
#include "weights/float_rows.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowsAtOnce = 256;

std::span<const std::byte> rows_of(const TensorEntry& tensor, std::int64_t begin,
                                   std::int64_t end) {
  const std::int64_t rows = tensor.shape.front();
  ensure(0 <= begin && begin <= end && end <= rows, "rows of this tensor");
  const std::size_t row_bytes =
      rows == 0 ? 0 : tensor.bytes.size() / static_cast<std::size_t>(rows);
  return tensor.bytes.subspan(static_cast<std::size_t>(begin) * row_bytes,
                              static_cast<std::size_t>(end - begin) * row_bytes);
}

std::vector<std::int8_t> read_codes(const StoredQuantizedMatrix& matrix, std::int64_t begin,
                                    std::int64_t end) {
  const auto columns = static_cast<std::size_t>(matrix.shape.in_features);
  const auto rows = static_cast<std::size_t>(end - begin);
  const std::span<const std::byte> bytes = rows_of(*matrix.codes, begin, end);
  std::vector<std::int8_t> codes(rows * columns);
  if (matrix.codes->dtype == DType::I8) {
    if (!codes.empty()) std::memcpy(codes.data(), bytes.data(), codes.size());
    return codes;
  }
  const auto row_bytes =
      static_cast<std::size_t>(packed_row_bytes(matrix.shape.in_features, matrix.scheme.bits));
  for (std::size_t row = 0; row < rows; ++row) {
    unpack_codes(bytes.subspan(row * row_bytes, row_bytes), matrix.scheme.bits,
                 std::span(codes).subspan(row * columns, columns));
  }
  return codes;
}

/// Zero points are packed along out_features: the word of row r is in packed row r / (32 / bits).
std::vector<std::int8_t> read_zero_points(const StoredQuantizedMatrix& matrix, std::int64_t begin,
                                          std::int64_t end, std::int64_t groups) {
  if (matrix.zero_points == nullptr) return {};
  const std::size_t count = static_cast<std::size_t>((end - begin) * groups);
  std::vector<std::int8_t> zero_points(count);
  if (matrix.zero_points->dtype == DType::I8) {
    const std::span<const std::byte> bytes = rows_of(*matrix.zero_points, begin, end);
    if (count > 0) std::memcpy(zero_points.data(), bytes.data(), count);
    return zero_points;
  }
  const int bits = matrix.scheme.bits;
  const std::int64_t per_word = 32 / bits;
  const std::uint32_t mask = (1U << bits) - 1;
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t group = 0; group < groups; ++group) {
      std::uint32_t word = 0;
      const auto index = static_cast<std::size_t>(row / per_word * groups + group);
      std::memcpy(&word, matrix.zero_points->bytes.data() + 4 * index, sizeof(word));
      const auto code = static_cast<int>(word >> (row % per_word * bits) & mask);
      zero_points[static_cast<std::size_t>((row - begin) * groups + group)] =
          static_cast<std::int8_t>(code - (1 << (bits - 1)));
    }
  }
  return zero_points;
}

[[noreturn]] void fail(const TensorEntry& tensor, const std::string& message) {
  throw Error(ErrorKind::Malformed, "C16",
              concat("tensor \"", shown_text(tensor.name), "\" ", message));
}

void check_grid(const TensorEntry& tensor, std::span<const std::int8_t> codes,
                const QuantScheme& scheme) {
  if (scheme.bits == 8 || tensor.dtype != DType::I8) return;  // every byte, or every packed code
  for (const std::int8_t code : codes) {
    if (code < scheme.qmin() || code > scheme.qmax()) {
      fail(tensor, concat("holds the code ", static_cast<int>(code), "; ", scheme.bits,
                          " bits reach from ", scheme.qmin(), " to ", scheme.qmax()));
    }
  }
}

/// A scale of 0 makes its group 0 whatever the codes say; no grid of ours has it, so the group gets
/// codes that mean 0.
void settle_zero_scales(const StoredQuantizedMatrix& matrix, std::vector<std::int8_t>& codes,
                        std::vector<float>& scales, std::span<const std::int8_t> zero_points) {
  const std::int64_t columns = matrix.shape.in_features;
  const std::int64_t length = matrix.scheme.group_length(columns);
  const std::int64_t groups = matrix.scheme.groups_per_row(columns);
  for (std::size_t at = 0; at < scales.size(); ++at) {
    if (!std::isfinite(scales[at])) fail(*matrix.scales, "holds a scale that is not finite");
    if (scales[at] != 0) continue;
    const auto row = static_cast<std::int64_t>(at) / groups;
    const auto group = static_cast<std::int64_t>(at) % groups;
    const std::int8_t zero = zero_points.empty() ? std::int8_t{0} : zero_points[at];
    std::fill(codes.begin() + row * columns + group * length,
              codes.begin() + row * columns + std::min((group + 1) * length, columns), zero);
    scales[at] = 1;
  }
}

/// Values of 0 and -0 among those that `bytes` holds. Word: an unsigned integer as wide as one.
template <typename Word>
std::int64_t count_zero_words(std::span<const std::byte> bytes) {
  constexpr Word kMagnitude = static_cast<Word>(-1) >> 1;
  const std::size_t count = bytes.size() / sizeof(Word);
  std::int64_t zeros = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Word word = 0;
    std::memcpy(&word, bytes.data() + i * sizeof(Word), sizeof(Word));
    zeros += (word & kMagnitude) == 0 ? 1 : 0;
  }
  return zeros;
}

std::int64_t count_zeros(const StoredMatrix& matrix, std::int64_t begin, std::int64_t end) {
  if (const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix)) {
    return read_quantized_rows(*quantized, begin, end).count_zeros();
  }
  const TensorEntry& values = *std::get<FloatMatrix>(matrix).values;
  const std::span<const std::byte> bytes = rows_of(values, begin, end);
  return values.dtype == DType::F32 ? count_zero_words<std::uint32_t>(bytes)
                                    : count_zero_words<std::uint16_t>(bytes);
}

}  // namespace

QuantizedMatrix read_quantized_rows(const StoredQuantizedMatrix& matrix, std::int64_t begin,
                                    std::int64_t end) {
  const std::int64_t columns = matrix.shape.in_features;
  const std::int64_t groups = matrix.scheme.groups_per_row(columns);
  std::vector<std::int8_t> codes = read_codes(matrix, begin, end);
  check_grid(*matrix.codes, codes, matrix.scheme);
  std::vector<float> scales(static_cast<std::size_t>((end - begin) * groups));
  floats_from_bytes(rows_of(*matrix.scales, begin, end), matrix.scales->dtype, scales);
  std::vector<std::int8_t> zero_points = read_zero_points(matrix, begin, end, groups);
  if (matrix.zero_points != nullptr) check_grid(*matrix.zero_points, zero_points, matrix.scheme);
  settle_zero_scales(matrix, codes, scales, zero_points);
  return {end - begin,      columns,           matrix.scheme,
          std::move(codes), std::move(scales), std::move(zero_points)};
}

void read_rows(const StoredMatrix& matrix, std::int64_t begin, std::int64_t end,
               std::span<float> out) {
  if (const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix)) {
    read_quantized_rows(*quantized, begin, end).dequantize_rows(0, end - begin, out);
    return;
  }
  const TensorEntry& values = *std::get<FloatMatrix>(matrix).values;
  floats_from_bytes(rows_of(values, begin, end), values.dtype, out);
}

MatrixShape matrix_shape(const StoredMatrix& matrix) {
  if (const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix)) {
    return quantized->shape;
  }
  const std::vector<std::int64_t>& shape = std::get<FloatMatrix>(matrix).values->shape;
  return {shape[0], shape[1]};
}

std::int64_t count_stored_zeros(const StoredMatrix& matrix, int num_threads) {
  const MatrixShape shape = matrix_shape(matrix);
  const std::int64_t pieces = (shape.out_features + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<std::int64_t> zeros(static_cast<std::size_t>(pieces));
  parallel_for(pieces, 1, num_threads, [&](std::int64_t piece, std::int64_t) {
    const std::int64_t begin = piece * kRowsAtOnce;
    const std::int64_t end = std::min(begin + kRowsAtOnce, shape.out_features);
    zeros[static_cast<std::size_t>(piece)] = count_zeros(matrix, begin, end);
  });
  return std::accumulate(zeros.begin(), zeros.end(), std::int64_t{0});
}

}  // namespace edgecompress
