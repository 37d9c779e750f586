#include "quantize/refine.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"
#include "quantize/grid.h"

namespace edgecompress {
namespace {

// Rows that share each row of the Hessian while it is in the cache.
constexpr std::int64_t kTileRows = 96;
// Closer than this to the best value, in steps, a code is the nearest whatever rounding does.
constexpr float kSurelyNearest = 0.49F;

struct Problem {
  MatrixView<const float> weight;
  const QuantizedMatrix& start;
  MatrixView<const float> hessian;
  std::span<const std::int64_t> order;
  std::span<const std::uint8_t> keep;  // or empty

  bool may_change(std::int64_t row, std::int64_t column) const {
    return weight.row(row)[column] != 0 &&
           (keep.empty() || keep[static_cast<std::size_t>(row * weight.columns + column)] != 0);
  }
};

struct Output {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<double> errors;  // [rows]
};

/// Descends for up to kTileRows rows.
class Tile {
 public:
  Tile(const Problem& problem, std::int64_t begin, std::int64_t rows)
      : problem_(problem),
        begin_(begin),
        rows_(rows),
        columns_(problem.weight.columns),
        length_(problem.start.scheme().group_length(columns_)),
        groups_(problem.start.scheme().groups_per_row(columns_)),
        codes_(static_cast<std::size_t>(rows * columns_)),
        gradient_(codes_.size()),
        product_(codes_.size()),
        scales_(static_cast<std::size_t>(rows * groups_)) {
    for (std::int64_t r = 0; r < rows_; ++r) load_row(r);
    // Subtracting (w - q) H from 0 leaves (q - w) H.
    const std::vector<float> negated = negated_difference();
    subtract_product({negated.data(), rows_, columns_, columns_}, problem_.hessian,
                     view(gradient_));
  }

  void run_round() {
    for (std::int64_t group = 0; group < groups_; ++group) improve_scales(group);
    for (const std::int64_t column : problem_.order) improve_codes(column);
  }

  void store(Output& output) const {
    const std::vector<float> negated = negated_difference();
    for (std::int64_t r = 0; r < rows_; ++r) {
      double error = 0;
      for (std::int64_t i = 0; i < columns_; ++i) {
        const auto at = static_cast<std::size_t>(r * columns_ + i);
        error -= static_cast<double>(negated[at]) * gradient_[at];
        const std::int32_t code =
            static_cast<std::int32_t>(codes_[at]) + zero_point(r, i / length_);
        output.codes[static_cast<std::size_t>((begin_ + r) * columns_ + i)] =
            static_cast<std::int8_t>(code);
      }
      output.errors[static_cast<std::size_t>(begin_ + r)] = error;
    }
    std::copy(scales_.begin(), scales_.end(), output.scales.begin() + begin_ * groups_);
  }

 private:
  MatrixView<float> view(std::vector<float>& values) const {
    return {values.data(), rows_, columns_, columns_};
  }

  std::int32_t zero_point(std::int64_t row, std::int64_t group) const {
    const auto zero_points = problem_.start.zero_points();
    return zero_points.empty()
               ? 0
               : zero_points[static_cast<std::size_t>((begin_ + row) * groups_ + group)];
  }

  void load_row(std::int64_t r) {
    for (std::int64_t i = 0; i < columns_; ++i) {
      const auto from = static_cast<std::size_t>((begin_ + r) * columns_ + i);
      codes_[static_cast<std::size_t>(r * columns_ + i)] =
          static_cast<float>(problem_.start.codes()[from] - zero_point(r, i / length_));
    }
    for (std::int64_t group = 0; group < groups_; ++group) {
      scales_[static_cast<std::size_t>(r * groups_ + group)] =
          problem_.start.scales()[static_cast<std::size_t>((begin_ + r) * groups_ + group)];
    }
  }

  std::vector<float> negated_difference() const {
    std::vector<float> result(codes_.size());
    for (std::int64_t r = 0; r < rows_; ++r) {
      const float* const weight = problem_.weight.row(begin_ + r);
      for (std::int64_t i = 0; i < columns_; ++i) {
        const auto at = static_cast<std::size_t>(r * columns_ + i);
        result[at] =
            weight[i] - codes_[at] * scales_[static_cast<std::size_t>(r * groups_ + i / length_)];
      }
    }
    return result;
  }

  // With codes c of a group and the gradient g = (q - w) H, a change d of the scale changes the
  // error by 2 d g c + d^2 c H c.
  void improve_scales(std::int64_t group) {
    const std::int64_t first = group * length_;
    const std::int64_t count = std::min(length_, columns_ - first);
    std::fill(product_.begin(), product_.end(), 0.0F);
    subtract_product(view(codes_).part(0, rows_, first, count),
                     problem_.hessian.part(first, count, 0, columns_), view(product_));
    for (std::int64_t r = 0; r < rows_; ++r) {
      const float* const codes = view(codes_).row(r) + first;
      const float* const product = view(product_).row(r);  // -c H
      float* const gradient = view(gradient_).row(r);
      double slope = 0;
      double curvature = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        slope += static_cast<double>(gradient[first + i]) * codes[i];
        curvature -= static_cast<double>(product[first + i]) * codes[i];
      }
      if (!(curvature > 0)) continue;  // all codes are 0
      float& scale = scales_[static_cast<std::size_t>(r * groups_ + group)];
      const auto better = static_cast<float>(scale - slope / curvature);
      // A scale that changes its sign or vanishes belongs to other codes.
      if (!std::isnormal(better) || (better > 0) != (scale > 0)) continue;
      subtract_multiple(better - scale, product, gradient, columns_);
      scale = better;
    }
  }

  // The best code for all others is the nearest to c - g_i / (scale H_ii).
  void improve_codes(std::int64_t column) {
    const float* const row = problem_.hessian.row(column);
    const std::int64_t group = column / length_;
    for (std::int64_t r = 0; r < rows_; ++r) {
      float* const gradient = view(gradient_).row(r);
      const float scale = scales_[static_cast<std::size_t>(r * groups_ + group)];
      if (std::abs(gradient[column]) < kSurelyNearest * row[column] * std::abs(scale)) continue;
      if (!problem_.may_change(begin_ + r, column)) continue;
      float& code = view(codes_).row(r)[column];
      const float wanted = code - gradient[column] / row[column] / scale;
      if (!std::isfinite(wanted)) continue;
      const float better =
          nearest_in(code_span(problem_.start.scheme(), zero_point(r, group)), wanted);
      if (better == code) continue;
      subtract_multiple((code - better) * scale, row, gradient, columns_);
      code = better;
    }
  }

  const Problem& problem_;
  std::int64_t begin_;
  std::int64_t rows_;
  std::int64_t columns_;
  std::int64_t length_;
  std::int64_t groups_;
  std::vector<float> codes_;     // [rows, columns], from the zero point
  std::vector<float> gradient_;  // (q - w) H, [rows, columns]
  std::vector<float> product_;   // [rows, columns]
  std::vector<float> scales_;    // [rows, groups]
};

}  // namespace

RefinedMatrix refine(std::span<const float> weight, const QuantizedMatrix& matrix,
                     std::span<const float> hessian, std::span<const std::int64_t> order,
                     std::span<const std::uint8_t> keep, int num_rounds, int num_threads) {
  const std::int64_t rows = matrix.rows();
  const std::int64_t columns = matrix.columns();
  ensure(std::cmp_equal(weight.size(), rows * columns), "a weight of the matrix's shape");
  ensure(std::cmp_equal(hessian.size(), columns * columns) && std::cmp_equal(order.size(), columns),
         "a Hessian and an order of all columns");
  ensure(keep.empty() || keep.size() == weight.size(), "a mask of the weight's shape");
  const Problem problem{{weight.data(), rows, columns, columns},
                        matrix,
                        {hessian.data(), columns, columns, columns},
                        order,
                        keep};
  Output output{std::vector<std::int8_t>(weight.size()), std::vector<float>(matrix.scales().size()),
                std::vector<double>(static_cast<std::size_t>(rows))};
  parallel_for(rows, kTileRows, num_threads, [&](std::int64_t begin, std::int64_t end) {
    Tile tile(problem, begin, end - begin);
    for (int round = 0; round < num_rounds; ++round) tile.run_round();
    tile.store(output);
  });
  double error = 0;
  for (const double of_row : output.errors) error += of_row;
  const auto zero_points = matrix.zero_points();
  return {QuantizedMatrix(rows, columns, matrix.scheme(), std::move(output.codes),
                          std::move(output.scales), {zero_points.begin(), zero_points.end()}),
          error};
}

}  // namespace edgecompress
