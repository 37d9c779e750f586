#include "training/trained_layer.h"

#include <algorithm>
#include <span>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "tensor/aten.h"
#include "tensor/host_values.h"
#include "training/straight_through.h"

namespace edgecompress {
namespace {

// A scale stays within these multiples of its start. Training moves it by some percent; the bounds
// only keep a wild step from making a scale 0 or negative.
constexpr double kSmallestFactor = 1.0 / 16;
constexpr double kLargestFactor = 16;

at::Tensor leaf(at::Tensor value) { return value.detach().requires_grad_(); }

at::Tensor zero_mask(const at::Tensor& weight, ZeroWeights zeros) {
  if (zeros == ZeroWeights::Free) return {};
  const at::Tensor keep = weight.ne(0);
  return keep.all().item<bool>() ? at::Tensor() : keep;
}

void ensure_masked(const at::Tensor& weight, const at::Tensor& keep) {
  if (!keep.defined()) return;
  ensure(weight.masked_fill(keep, 0).count_nonzero().item<std::int64_t>() == 0,
         "masked weights to be exactly zero after every training step");
}

std::vector<std::int8_t> codes_of(const at::Tensor& values) {
  const at::Tensor host = values.detach().to(at::kCPU, at::kChar).contiguous();
  const std::int8_t* const data = host.data_ptr<std::int8_t>();
  return {data, data + host.numel()};
}

at::Tensor tensor_of(std::span<const std::int8_t> values, at::IntArrayRef shape) {
  at::Tensor codes = at::empty(shape, at::kChar);
  std::copy(values.begin(), values.end(), codes.data_ptr<std::int8_t>());
  return codes.to(at::kFloat);
}

/// How a matrix is cut into groups. A short last group is filled up, with values that
/// as_matrix() drops and that get no gradient.
struct GroupShape {
  std::int64_t rows;
  std::int64_t groups;
  std::int64_t length;
};

GroupShape group_shape(const MatrixShape& shape, const QuantScheme& scheme) {
  return {shape.out_features, scheme.groups_per_row(shape.in_features),
          scheme.group_length(shape.in_features)};
}

/// [out, in] -> [out, groups, length]
at::Tensor in_groups(const at::Tensor& matrix, const GroupShape& shape) {
  const std::int64_t missing = shape.groups * shape.length - matrix.size(1);
  return at::constant_pad_nd(matrix, {0, missing}).view({shape.rows, shape.groups, shape.length});
}

/// The inverse.
at::Tensor as_matrix(const at::Tensor& groups, const MatrixShape& shape) {
  return groups.reshape({shape.out_features, -1}).narrow(1, 0, shape.in_features);
}

at::Tensor scales_of(const QuantizedMatrix& matrix, const GroupShape& shape) {
  at::Tensor scales = at::empty({shape.rows, shape.groups, 1}, at::kFloat);
  std::copy(matrix.scales().begin(), matrix.scales().end(), scales.data_ptr<float>());
  return scales;
}

at::Tensor zero_points_of(const QuantizedMatrix& matrix, const GroupShape& shape) {
  if (matrix.zero_points().empty()) return at::zeros({shape.rows, shape.groups, 1});
  return tensor_of(matrix.zero_points(), {shape.rows, shape.groups, 1});
}

QuantizedMatrix read_whole(const StoredQuantizedMatrix& matrix) {
  return read_quantized_rows(matrix, 0, matrix.shape.out_features);
}

GroupShape group_shape(const QuantizedMatrix& matrix) {
  return group_shape({matrix.rows(), matrix.columns()}, matrix.scheme());
}

/// Codes counted from the zero point, [out, groups, length].
at::Tensor steps_of(const QuantizedMatrix& matrix) {
  const GroupShape shape = group_shape(matrix);
  const at::Tensor codes = tensor_of(matrix.codes(), {matrix.rows(), matrix.columns()});
  return in_groups(codes, shape) - zero_points_of(matrix, shape);
}

std::vector<std::int8_t> copied(std::span<const std::int8_t> values) {
  return {values.begin(), values.end()};
}

}  // namespace

TrainedFactors::TrainedFactors(at::Tensor start)
    : start_(std::move(start)), factors_(leaf(at::ones_like(start_))) {}

at::Tensor TrainedFactors::values() const { return start_ * factors_; }

void TrainedFactors::settle() {
  const at::NoGradGuard no_grad;
  factors_.clamp_(kSmallestFactor, kLargestFactor);
}

FrozenLayer::FrozenLayer(StoredMatrix matrix, at::Device device, int num_threads)
    : matrix_(matrix), device_(device), num_threads_(num_threads) {}

at::Tensor FrozenLayer::weight() const { return load_matrix(matrix_, num_threads_).to(device_); }

WeightValue FrozenLayer::stored() const {
  if (const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix_)) {
    return read_whole(*quantized);
  }
  return host_floats(load_matrix(matrix_, num_threads_));
}

ScaledLayer::ScaledLayer(StoredQuantizedMatrix matrix, at::Device device)
    : matrix_(matrix), device_(device), scales_([&] {
        const QuantizedMatrix start = read_whole(matrix);
        return scales_of(start, group_shape(start)).to(device);
      }()) {}

at::Tensor ScaledLayer::weight() const {
  const at::Tensor steps = steps_of(read_whole(matrix_)).to(device_);
  return as_matrix(steps * scales_.values(), matrix_.shape);
}

WeightValue ScaledLayer::stored() const {
  const QuantizedMatrix start = read_whole(matrix_);
  return QuantizedMatrix(start.rows(), start.columns(), start.scheme(), copied(start.codes()),
                         host_floats(scales_.values()), copied(start.zero_points()));
}

std::vector<Parameter> ScaledLayer::parameters(const TrainingOptions& options) const {
  return {{scales_.factors(), options.scale_learning_rate}};
}

FloatLayer::FloatLayer(at::Tensor weight, DType dtype, ZeroWeights zeros)
    : weight_(leaf(std::move(weight))), dtype_(dtype), keep_(zero_mask(weight_, zeros)) {}

at::Tensor FloatLayer::weight() const {
  const at::Tensor rounded = straight_through(rounded_to(weight_.detach(), dtype_), weight_);
  return keep_.defined() ? rounded * keep_ : rounded;
}

WeightValue FloatLayer::stored() const { return host_floats(weight_); }

std::vector<Parameter> FloatLayer::parameters(const TrainingOptions& options) const {
  return {{weight_, options.learning_rate}};
}

void FloatLayer::settle() { ensure_masked(weight_.detach(), keep_); }

RoundedLayer::RoundedLayer(const QuantizedMatrix& matrix, const at::Tensor& dense,
                           at::Device device, const TrainingOptions& options)
    : shape_{matrix.rows(), matrix.columns()},
      start_{.columns = matrix.columns(),
             .scheme = matrix.scheme(),
             .scales = scales_of(matrix, group_shape(matrix)).to(device),
             .zero_points = zero_points_of(matrix, group_shape(matrix)).to(device),
             .keep = {}},
      factors_(at::ones_like(start_.scales)) {
  const at::NoGradGuard no_grad;
  const at::Tensor steps = steps_of(matrix).to(device);
  start_.keep = zero_mask(steps, options.zeros);
  at::Tensor start = steps;
  if (dense.defined()) {
    constexpr double kCellHalf = 0.49;  // half a step would round to a neighbour
    const at::Tensor wanted = in_groups(dense.to(device), group_shape(matrix)) / start_.scales;
    if (!start_.keep.defined()) start_.keep = zero_mask(wanted, ZeroWeights::Keep);
    // A weight that compensation moved to another code starts in the middle of its cell: at the
    // edge towards its floating value the first steps would undo the compensation.
    const at::Tensor inside = (wanted - steps).abs().le(0.5);
    start = at::where(inside, at::clamp(wanted, steps - kCellHalf, steps + kCellHalf), steps);
    if (start_.keep.defined()) start = start * start_.keep;
  }
  weight_ = leaf(start.contiguous());
  if (options.zero_points == ZeroPoints::Trained &&
      matrix.scheme().symmetry == Symmetry::Asymmetric) {
    zero_shift_ = leaf(at::zeros_like(start_.zero_points));
  }
}

at::Tensor RoundedLayer::weight() const { return rounded_weight(start_, grid_parameters()); }

WeightValue RoundedLayer::stored() const {
  const at::NoGradGuard no_grad;
  const TrainedGrid found = round_to_grid(start_, grid_parameters());
  const bool symmetric = start_.scheme.symmetry == Symmetry::Symmetric;
  return QuantizedMatrix(shape_.out_features, shape_.in_features, start_.scheme,
                         codes_of(as_matrix(found.codes + found.zeros, shape_)),
                         host_floats(found.scales),
                         symmetric ? std::vector<std::int8_t>{} : codes_of(found.zeros));
}

std::vector<Parameter> RoundedLayer::parameters(const TrainingOptions& options) const {
  std::vector<Parameter> all{{weight_, options.code_learning_rate},
                             {factors_.factors(), options.scale_learning_rate}};
  if (zero_shift_.defined()) all.push_back({zero_shift_, options.scale_learning_rate});
  return all;
}

void RoundedLayer::settle() {
  factors_.settle();
  ensure_masked(weight_.detach(), start_.keep);
}

}  // namespace edgecompress
