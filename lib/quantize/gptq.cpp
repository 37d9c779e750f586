#include "quantize/gptq.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"
#include "quantize/grid.h"

namespace edgecompress {
namespace {

// Columns whose errors reach the columns behind them in one product (paper, section 3.3, step 2).
constexpr std::int64_t kBlock = 128;
// Rows that go through all columns together: a block of them, 24 KiB, stays in the L1 cache.
constexpr std::int64_t kTileRows = 48;

/// The integer that a float of nearest_in holds; defined for NaN too, which is refused at the end.
std::int32_t code_bits(float code) {
  return std::bit_cast<std::int32_t>(code + kRoundingBias) -
         std::bit_cast<std::int32_t>(kRoundingBias);
}

struct Problem {
  MatrixView<const float> weight;
  const QuantScheme& scheme;
  const GptqInputs& inputs;
  std::span<const std::uint8_t> keep;  // or empty
  std::span<const float> importances;  // [columns], or empty
  GptqClip clip;

  MatrixView<const float> factor() const {
    return {inputs.factor.data(), weight.columns, weight.columns, weight.columns};
  }
  bool keeps(std::int64_t row, std::int64_t column) const {
    return weight.row(row)[column] != 0 &&
           (keep.empty() || keep[static_cast<std::size_t>(row * weight.columns + column)] != 0);
  }
};

struct Output {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int8_t> zero_points;  // empty when symmetric
  std::vector<double> errors;            // [rows]
  std::vector<std::int64_t> clipped;     // [rows]
};

/// Goes through all columns of up to kTileRows rows. Arrays inside a block have a row per column:
/// each step is the same for all rows, so that their numbers lie side by side.
class Tile {
 public:
  Tile(const Problem& problem, Output& output, std::int64_t begin, std::int64_t rows)
      : problem_(problem),
        output_(output),
        begin_(begin),
        rows_(rows),
        columns_(problem.weight.columns),
        groups_(problem.scheme.groups_per_row(columns_)),
        work_(static_cast<std::size_t>(rows * columns_)),
        grids_(static_cast<std::size_t>(groups_ * rows)),
        block_(static_cast<std::size_t>(kBlock * kTileRows)),
        keep_(block_.size()),
        errors_(block_.size()),
        row_errors_(static_cast<std::size_t>(kTileRows * kBlock)) {}

  /// Returns the first row with a weight that is not finite, relative to the tile, or -1.
  std::int64_t choose_grids() {
    std::vector<float> kept(static_cast<std::size_t>(columns_));
    const std::int64_t length = problem_.scheme.group_length(columns_);
    for (std::int64_t r = 0; r < rows_; ++r) {
      const float* const weight = problem_.weight.row(begin_ + r);
      for (std::int64_t i = 0; i < columns_; ++i) {
        kept[static_cast<std::size_t>(i)] = problem_.keeps(begin_ + r, i) ? weight[i] : 0.0F;
      }
      for (std::int64_t group = 0; group < groups_; ++group) {
        const std::int64_t first = group * length;
        const std::int64_t count = std::min(length, columns_ - first);
        // A dropped weight must be finite too: its error is compensated.
        Range range{};
        if (!find_range({weight + first, static_cast<std::size_t>(count)}, range)) return r;
        set_grid(r, group,
                 choose_grid(std::span(kept).subspan(static_cast<std::size_t>(first),
                                                     static_cast<std::size_t>(count)),
                             first));
      }
    }
    return -1;
  }

  void run() {
    gather_columns();
    for (std::int64_t begin = 0; begin < columns_; begin += kBlock) {
      const std::int64_t width = std::min(kBlock, columns_ - begin);
      load_block(begin, width);
      for (std::int64_t i = 0; i < width; ++i) round_column(begin, i, width);
      const std::int64_t end = begin + width;
      if (end == columns_) break;
      transpose_errors(width);
      subtract_product(MatrixView<const float>{row_errors_.data(), rows_, width, kBlock},
                       problem_.factor().part(begin, width, end, columns_ - end),
                       MatrixView<float>{work_.data() + end, rows_, columns_ - end, columns_});
    }
  }

 private:
  Grid choose_grid(std::span<const float> kept, std::int64_t first) const {
    Range range{};
    find_range(kept, range);
    if (problem_.clip == GptqClip::None) return grid_of(range, 1, problem_.scheme);
    const auto importances =
        problem_.importances.empty()
            ? problem_.importances
            : problem_.importances.subspan(static_cast<std::size_t>(first), kept.size());
    return search_grid(kept, importances, range, problem_.scheme);
  }

  void set_grid(std::int64_t row, std::int64_t group, Grid grid) {
    grids_[static_cast<std::size_t>(group * rows_ + row)] = grid;
    const auto at = static_cast<std::size_t>((begin_ + row) * groups_ + group);
    output_.scales[at] = grid.step;
    if (!output_.zero_points.empty()) {
      output_.zero_points[at] = static_cast<std::int8_t>(grid.zero_point);
    }
  }

  void gather_columns() {
    for (std::int64_t r = 0; r < rows_; ++r) {
      const float* const weight = problem_.weight.row(begin_ + r);
      float* const out = work_.data() + r * columns_;
      for (std::int64_t i = 0; i < columns_; ++i) {
        out[i] = weight[problem_.inputs.order[static_cast<std::size_t>(i)]];
      }
    }
  }

  void load_block(std::int64_t begin, std::int64_t width) {
    for (std::int64_t i = 0; i < width; ++i) {
      const std::int64_t column = problem_.inputs.order[static_cast<std::size_t>(begin + i)];
      for (std::int64_t r = 0; r < rows_; ++r) {
        const auto at = static_cast<std::size_t>(i * kTileRows + r);
        block_[at] = work_[static_cast<std::size_t>(r * columns_ + begin + i)];
        keep_[at] = problem_.keeps(begin_ + r, column) ? 1.0F : 0.0F;
      }
    }
  }

  void round_column(std::int64_t begin, std::int64_t i, std::int64_t width) {
    const std::int64_t column = problem_.inputs.order[static_cast<std::size_t>(begin + i)];
    const std::int64_t group = column / problem_.scheme.group_length(columns_);
    const float* const factor = problem_.factor().row(begin + i) + begin;
    const Grid* const grids = grids_.data() + group * rows_;
    const float* const weight = block_.data() + i * kTileRows;
    const float* const keep = keep_.data() + i * kTileRows;
    float* const error = errors_.data() + i * kTileRows;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const Grid grid = grids[r];
      const Span span = code_span(problem_.scheme, grid.zero_point);
      const float steps = weight[r] / grid.step;
      const float code = nearest_in(span, steps) * keep[r];
      error[r] = (weight[r] - code * grid.step) / factor[i];
      const std::int64_t row = begin_ + r;
      output_.codes[static_cast<std::size_t>(row * columns_ + column)] =
          static_cast<std::int8_t>(code_bits(code) + grid.zero_point);
      output_.errors[static_cast<std::size_t>(row)] += static_cast<double>(error[r]) * error[r];
      const bool outside = steps > span.high + 0.5F || steps < span.low - 0.5F;
      if (outside && keep[r] != 0) ++output_.clipped[static_cast<std::size_t>(row)];
    }
    for (std::int64_t j = i + 1; j < width; ++j) {
      float* const later = block_.data() + j * kTileRows;
      const float share = factor[j];
      for (std::int64_t r = 0; r < kTileRows; ++r) later[r] -= share * error[r];
    }
  }

  void transpose_errors(std::int64_t width) {
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t i = 0; i < width; ++i) {
        row_errors_[static_cast<std::size_t>(r * kBlock + i)] =
            errors_[static_cast<std::size_t>(i * kTileRows + r)];
      }
    }
  }

  const Problem& problem_;
  Output& output_;
  std::int64_t begin_;
  std::int64_t rows_;
  std::int64_t columns_;
  std::int64_t groups_;
  std::vector<float> work_;        // [rows, columns in order]
  std::vector<Grid> grids_;        // [groups, rows]
  std::vector<float> block_;       // [kBlock, kTileRows], as are the next two
  std::vector<float> keep_;        // 1 = keep
  std::vector<float> errors_;      // (w - q) / U_ii
  std::vector<float> row_errors_;  // [rows, kBlock]
};

/// The mean squares divided by their mean, so that no sum leaves float's range.
std::vector<float> relative_importances(std::span<const double> mean_square) {
  double sum = 0;
  for (const double square : mean_square) sum += square;
  std::vector<float> importances(mean_square.size(), 1.0F);
  if (sum == 0) return importances;
  const double scale = static_cast<double>(mean_square.size()) / sum;
  for (std::size_t i = 0; i < importances.size(); ++i) {
    importances[i] = static_cast<float>(mean_square[i] * scale);
  }
  return importances;
}

void lower_to(std::atomic<std::int64_t>& least, std::int64_t value) {
  std::int64_t seen = least.load();
  while (value < seen && !least.compare_exchange_weak(seen, value)) {
  }
}

void refuse_overflow(const std::vector<double>& row_errors) {
  for (std::size_t row = 0; row < row_errors.size(); ++row) {
    if (std::isfinite(row_errors[row])) continue;
    throw Error(ErrorKind::Numeric, "N3",
                concat("compensating the rounding errors of row ", row,
                       " overflows; the inputs of this layer are too alike. Use more damping"));
  }
}

void ensure_shapes(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                   const GptqInputs& inputs, std::span<const std::uint8_t> keep) {
  ensure(rows >= 0 && columns > 0 && std::cmp_equal(weight.size(), rows * columns),
         "a weight of rows * columns");
  ensure(std::cmp_equal(inputs.factor.size(), columns * columns) &&
             std::cmp_equal(inputs.order.size(), columns) &&
             std::cmp_equal(inputs.mean_square.size(), columns),
         "a factor, an order and mean squares of all columns");
  ensure(keep.empty() || keep.size() == weight.size(), "a mask of the weight's shape");
}

}  // namespace

GptqResult quantize_gptq(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                         const QuantScheme& scheme, const GptqInputs& inputs, GptqClip clip,
                         std::span<const std::uint8_t> keep, int num_threads) {
  ensure_shapes(weight, rows, columns, inputs, keep);
  const auto count = static_cast<std::size_t>(rows * scheme.groups_per_row(columns));
  Output output{std::vector<std::int8_t>(weight.size()), std::vector<float>(count),
                std::vector<std::int8_t>(scheme.symmetry == Symmetry::Asymmetric ? count : 0),
                std::vector<double>(static_cast<std::size_t>(rows)),
                std::vector<std::int64_t>(static_cast<std::size_t>(rows))};
  const std::vector<float> importances = clip == GptqClip::Importance
                                             ? relative_importances(inputs.mean_square)
                                             : std::vector<float>{};
  const Problem problem{
      {weight.data(), rows, columns, columns}, scheme, inputs, keep, importances, clip};
  std::atomic<std::int64_t> first_refused{rows};
  parallel_for(rows, kTileRows, num_threads, [&](std::int64_t begin, std::int64_t end) {
    Tile tile(problem, output, begin, end - begin);
    const std::int64_t refused = tile.choose_grids();
    if (refused >= 0) {
      lower_to(first_refused, begin + refused);
    } else {
      tile.run();
    }
  });
  if (first_refused < rows) {
    refuse_weight(weight.subspan(static_cast<std::size_t>(first_refused * columns),
                                 static_cast<std::size_t>(columns)),
                  first_refused);
  }
  refuse_overflow(output.errors);
  double error = 0;
  std::int64_t clipped = 0;
  for (const double of_row : output.errors) error += of_row;
  for (const std::int64_t of_row : output.clipped) clipped += of_row;
  return {QuantizedMatrix(rows, columns, scheme, std::move(output.codes), std::move(output.scales),
                          std::move(output.zero_points)),
          error, clipped};
}

}  // namespace edgecompress
