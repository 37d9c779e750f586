#include "quantize/input_scales.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"
#include "quantize/rtn.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kSampledRows = 256;
constexpr std::int64_t kTileRows = 16;
constexpr int kExponents = 20;
// An input that is (almost) never there must not get a scale that moves its weights out of range.
constexpr double kSmallestShare = 1e-4;

/// sum over rows of d H d^T.
double output_energy(MatrixView<const float> rows, MatrixView<const float> hessian,
                     int num_threads) {
  const std::int64_t columns = rows.columns;
  std::vector<double> energies(static_cast<std::size_t>(rows.rows));
  parallel_for(rows.rows, kTileRows, num_threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> product(static_cast<std::size_t>((end - begin) * columns));
    const MatrixView<float> negated{product.data(), end - begin, columns, columns};
    subtract_product(rows.part(begin, end - begin, 0, columns), hessian, negated);
    for (std::int64_t r = begin; r < end; ++r) {
      const float* const row = rows.row(r);
      const float* const of_row = negated.row(r - begin);
      double sum = 0;
      for (std::int64_t i = 0; i < columns; ++i) sum -= static_cast<double>(row[i]) * of_row[i];
      energies[static_cast<std::size_t>(r)] = sum;
    }
  });
  double total = 0;
  for (const double energy : energies) total += energy;
  return total;
}

/// Some rows of a layer, and what they lose when they are rounded with scaled columns.
class SampledLayer {
 public:
  SampledLayer(const ScalableLayer& layer, MatrixView<const float> hessian, int num_threads)
      : scheme_(layer.scheme), hessian_(hessian), num_threads_(num_threads) {
    const std::int64_t all = layer.weight.rows;
    columns_ = layer.weight.columns;
    rows_ = std::min(all, kSampledRows);
    weight_.reserve(static_cast<std::size_t>(rows_ * columns_));
    for (std::int64_t i = 0; i < rows_; ++i) {
      const float* const row = layer.weight.row(i * all / rows_);
      weight_.insert(weight_.end(), row, row + columns_);
    }
    energy_ = output_energy(view(weight_), hessian_, num_threads_);
  }

  double relative_error(const std::vector<float>& scales) const {
    if (!(energy_ > 0)) return 0;  // the layer gives nothing, whatever its weights are
    std::vector<float> scaled = weight_;
    for_elements(scales, [&](std::size_t at, float scale) { scaled[at] *= scale; });
    const QuantizedMatrix rounded =
        quantize_rtn(scaled, rows_, columns_, scheme_, {}, num_threads_);
    rounded.dequantize_rows(0, rows_, scaled);
    for_elements(scales, [&](std::size_t at, float scale) {
      scaled[at] = scaled[at] / scale - weight_[at];
    });
    return output_energy(view(scaled), hessian_, num_threads_) / energy_;
  }

 private:
  MatrixView<const float> view(const std::vector<float>& values) const {
    return {values.data(), rows_, columns_, columns_};
  }

  template <typename Body>
  void for_elements(const std::vector<float>& scales, const Body& body) const {
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t i = 0; i < columns_; ++i) {
        body(static_cast<std::size_t>(r * columns_ + i), scales[static_cast<std::size_t>(i)]);
      }
    }
  }

  QuantScheme scheme_;
  MatrixView<const float> hessian_;
  int num_threads_;
  std::int64_t rows_ = 0;
  std::int64_t columns_ = 0;
  std::vector<float> weight_;
  double energy_ = 0;
};

/// The root mean square of the inputs of each scale, none below a share of the largest.
std::vector<double> sizes_by_scale(const ScalableInputs& inputs) {
  const auto of_column = inputs.scale_of_column;
  const std::int64_t count = *std::max_element(of_column.begin(), of_column.end()) + 1;
  std::vector<double> squares(static_cast<std::size_t>(count));
  std::vector<double> members(squares.size());
  for (std::size_t i = 0; i < of_column.size(); ++i) {
    const auto scale = static_cast<std::size_t>(of_column[i]);
    squares[scale] += inputs.hessian.row(static_cast<std::int64_t>(i))[i];
    members[scale] += 1;
  }
  for (std::size_t i = 0; i < squares.size(); ++i) {
    squares[i] = std::sqrt(squares[i] / std::max(members[i], 1.0));
  }
  const double largest = *std::max_element(squares.begin(), squares.end());
  for (double& size : squares) size = std::max(size, kSmallestShare * largest);
  return squares;
}

std::vector<float> scales_of(const std::vector<double>& sizes, double exponent,
                             std::span<const std::int64_t> scale_of_column) {
  const auto [least, largest] = std::minmax_element(sizes.begin(), sizes.end());
  const double middle = std::sqrt(*least) * std::sqrt(*largest);
  std::vector<float> scales;
  scales.reserve(scale_of_column.size());
  for (const std::int64_t scale : scale_of_column) {
    scales.push_back(
        static_cast<float>(std::pow(sizes[static_cast<std::size_t>(scale)] / middle, exponent)));
  }
  return scales;
}

}  // namespace

InputScales search_input_scales(std::span<const ScalableLayer> layers, const ScalableInputs& inputs,
                                int num_threads) {
  ensure(!layers.empty() && inputs.hessian.rows == inputs.hessian.columns &&
             std::cmp_equal(inputs.scale_of_column.size(), inputs.hessian.columns),
         "layers, and a Hessian and scales of all their inputs");
  std::vector<SampledLayer> samples;
  for (const ScalableLayer& layer : layers) {
    ensure(layer.weight.columns == inputs.hessian.columns, "layers of the same inputs");
    samples.emplace_back(layer, inputs.hessian, num_threads);
  }
  const std::vector<double> sizes = sizes_by_scale(inputs);
  InputScales best{.by_column = std::vector<float>(inputs.scale_of_column.size(), 1.0F)};
  const bool has_inputs = *std::max_element(sizes.begin(), sizes.end()) > 0;
  for (int i = 0; i < (has_inputs ? kExponents : 0); ++i) {
    const double exponent = static_cast<double>(i) / kExponents;
    std::vector<float> scales = scales_of(sizes, exponent, inputs.scale_of_column);
    double error = 0;
    for (const SampledLayer& sample : samples) error += sample.relative_error(scales);
    if (i > 0 && !(error < best.relative_error)) continue;
    best = {.by_column = std::move(scales), .exponent = exponent, .relative_error = error};
  }
  return best;
}

}  // namespace edgecompress
