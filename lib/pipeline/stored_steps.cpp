#include "pipeline/stored_steps.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "quantize/hqq.h"
#include "quantize/rtn.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowsAtOnce = 64;            // for a thread
constexpr std::int64_t kWeightsInMemory = 1 << 20;  // as floats, for all threads

/// Calls body(begin, end) for all rows in pieces, on several threads.
template <typename Body>
void for_rows(std::int64_t begin, std::int64_t end, int num_threads, const Body& body) {
  parallel_for(end - begin, kRowsAtOnce, num_threads,
               [&](std::int64_t first, std::int64_t last) { body(begin + first, begin + last); });
}

void read_all(const StoredMatrix& matrix, std::int64_t begin, std::int64_t end, int num_threads,
              std::span<float> out) {
  const std::int64_t columns = matrix_shape(matrix).in_features;
  for_rows(begin, end, num_threads, [&](std::int64_t first, std::int64_t last) {
    read_rows(matrix, first, last,
              out.subspan(static_cast<std::size_t>((first - begin) * columns),
                          static_cast<std::size_t>((last - first) * columns)));
  });
}

template <typename T>
void append(std::vector<T>& all, std::span<const T> part) {
  all.insert(all.end(), part.begin(), part.end());
}

/// The rows of a quantized matrix, put together.
struct QuantizedRows {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int8_t> zero_points;

  QuantizedRows(MatrixShape shape, const QuantScheme& scheme) {
    codes.reserve(static_cast<std::size_t>(shape.out_features * shape.in_features));
    scales.reserve(
        static_cast<std::size_t>(shape.out_features * scheme.groups_per_row(shape.in_features)));
    if (scheme.symmetry == Symmetry::Asymmetric) zero_points.reserve(scales.capacity());
  }
  void add(const QuantizedMatrix& rows) {
    append(codes, rows.codes());
    append(scales, rows.scales());
    append(zero_points, rows.zero_points());
  }
};

/// The method for some rows of a matrix whose inputs are not known.
QuantizedMatrix quantize_rows(std::span<const float> weights, std::int64_t rows,
                              std::int64_t columns, const QuantScheme& scheme,
                              const QuantizeMethod& method, int num_threads) {
  if (const auto* const hqq = std::get_if<HqqOptions>(&method)) {
    return quantize_hqq(weights, rows, columns, scheme, *hqq, num_threads);
  }
  const auto* const rtn = std::get_if<RtnOptions>(&method);
  return quantize_rtn(weights, rows, columns, scheme,
                      rtn != nullptr ? *rtn : RtnOptions{.clip = ClipSearch::WeightError},
                      num_threads);
}

}  // namespace

NewMatrix keep_stored(const StoredMatrix& matrix, int num_threads) {
  const MatrixShape shape = matrix_shape(matrix);
  std::vector<float> values(static_cast<std::size_t>(shape.out_features * shape.in_features));
  read_all(matrix, 0, shape.out_features, num_threads, values);
  const WeightChange change = change_between(values, values, num_threads);
  return {.value = std::move(values), .change = change};
}

NewMatrix quantize_stored(const StoredMatrix& matrix, const QuantScheme& scheme,
                          const QuantizeMethod& method, int num_threads) {
  const std::int64_t columns = matrix_shape(matrix).in_features;
  return quantize_stored_rows(
      matrix, scheme, std::max<std::int64_t>(1, kWeightsInMemory / columns),
      [&](std::span<const float> weights, std::int64_t rows) {
        return quantize_rows(weights, rows, columns, scheme, method, num_threads);
      },
      num_threads);
}

NewMatrix quantize_stored_rows(const StoredMatrix& matrix, const QuantScheme& scheme,
                               std::int64_t step, const RowRounding& round, int num_threads) {
  const MatrixShape shape = matrix_shape(matrix);
  const std::int64_t columns = shape.in_features;
  std::vector<float> dense(static_cast<std::size_t>(std::min(step, shape.out_features) * columns));
  std::vector<float> rounded(dense.size());
  QuantizedRows all(shape, scheme);
  WeightChange change;
  for (std::int64_t begin = 0; begin < shape.out_features; begin += step) {
    const std::int64_t end = std::min(begin + step, shape.out_features);
    const auto size = static_cast<std::size_t>((end - begin) * columns);
    const std::span<float> weights(dense.data(), size);
    read_all(matrix, begin, end, num_threads, weights);
    const QuantizedMatrix rows =
        with_context(concat("quantizing rows from ", begin, " on, which are counted from there"),
                     [&] { return round(weights, end - begin); });
    for_rows(0, end - begin, num_threads, [&](std::int64_t first, std::int64_t last) {
      rows.dequantize_rows(
          first, last,
          {rounded.data() + first * columns, static_cast<std::size_t>((last - first) * columns)});
    });
    change += change_between(weights, std::span<const float>(rounded.data(), size), num_threads);
    all.add(rows);
  }
  return {.value = QuantizedMatrix(shape.out_features, columns, scheme, std::move(all.codes),
                                   std::move(all.scales), std::move(all.zero_points)),
          .change = change};
}

}  // namespace edgecompress
