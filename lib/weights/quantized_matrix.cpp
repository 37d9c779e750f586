#include "weights/quantized_matrix.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace edgecompress {
namespace {

bool within_grid(std::span<const std::int8_t> codes, const QuantScheme& scheme) {
  if (scheme.bits == 8) return true;  // every std::int8_t
  const auto low = static_cast<std::int8_t>(scheme.qmin());
  const auto high = static_cast<std::int8_t>(scheme.qmax());
  std::int8_t outside = 0;  // no early end, so that the loop vectorizes
  for (const std::int8_t code : codes) outside |= code < low || code > high ? 1 : 0;
  return outside == 0;
}

}  // namespace

QuantizedMatrix::QuantizedMatrix(std::int64_t rows, std::int64_t columns, QuantScheme scheme,
                                 std::vector<std::int8_t> codes, std::vector<float> scales,
                                 std::vector<std::int8_t> zero_points)
    : rows_(rows),
      columns_(columns),
      scheme_(scheme),
      codes_(std::move(codes)),
      scales_(std::move(scales)),
      zero_points_(std::move(zero_points)) {
  ensure(rows >= 0 && columns > 0, "rows >= 0 and columns > 0");
  ensure(scheme.bits == 4 || scheme.bits == 8, "4 or 8 bits");
  ensure(scheme.group_size >= 0, "a group size of at least 0");
  const auto num_codes = static_cast<std::size_t>(rows * columns);
  const auto num_groups = static_cast<std::size_t>(rows * scheme.groups_per_row(columns));
  ensure(codes_.size() == num_codes, "rows x columns codes");
  ensure(scales_.size() == num_groups, "rows x groups scales");
  const bool symmetric = scheme.symmetry == Symmetry::Symmetric;
  ensure(zero_points_.size() == (symmetric ? 0 : num_groups), "zero points only when asymmetric");
  ensure(within_grid(codes_, scheme), "codes within the grid");
  ensure(within_grid(zero_points_, scheme), "zero points within the grid");
  ensure(std::all_of(scales_.begin(), scales_.end(),
                     [](float scale) { return std::isfinite(scale) && scale != 0; }),
         "finite scales that are not 0");
}

void QuantizedMatrix::dequantize_rows(std::int64_t begin, std::int64_t end,
                                      std::span<float> out) const {
  ensure(0 <= begin && begin <= end && end <= rows_, "rows of this matrix");
  ensure(out.size() == static_cast<std::size_t>((end - begin) * columns_), "room for the rows");
  const std::int64_t length = scheme_.group_length(columns_);
  const std::int64_t groups = scheme_.groups_per_row(columns_);
  float* value = out.data();
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t group = 0; group < groups; ++group) {
      const auto at = static_cast<std::size_t>(row * groups + group);
      const int zero_point = zero_points_.empty() ? 0 : zero_points_[at];
      const float scale = scales_[at];
      const std::int64_t first = row * columns_ + group * length;
      const std::int64_t last = row * columns_ + std::min((group + 1) * length, columns_);
      const std::int8_t* const code = codes_.data() + first;
      const std::int64_t count = last - first;
      for (std::int64_t i = 0; i < count; ++i) {
        value[i] = scale * static_cast<float>(code[i] - zero_point);
      }
      value += count;
    }
  }
}

std::int64_t QuantizedMatrix::count_zeros() const {
  const std::int64_t length = scheme_.group_length(columns_);
  const std::int64_t groups = scheme_.groups_per_row(columns_);
  std::int64_t zeros = 0;
  for (std::int64_t at = 0; at < rows_ * groups; ++at) {
    const std::int64_t first = at % groups * length;
    const std::int64_t count = std::min(length, columns_ - first);
    const std::int8_t* const code = codes_.data() + at / groups * columns_ + first;
    const int zero_point = zero_points_.empty() ? 0 : zero_points_[static_cast<std::size_t>(at)];
    zeros += std::count(code, code + count, static_cast<std::int8_t>(zero_point));
  }
  return zeros;
}

}  // namespace edgecompress
