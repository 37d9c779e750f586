#include "training/grid_rounding.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.h"
#include "tensor/aten.h"
#include "training/straight_through.h"

namespace edgecompress {
namespace {

/// To the nearest integer, of two the even one, for |x| up to 2^22: floats of the size of the
/// addend have no places behind the point. The library's function is a call for each number.
float nearest(float x) {
  constexpr float kWholeNumbers = 0x1.8p23F;
  return (x + kWholeNumbers) - kWholeNumbers;
}

/// One group's numbers, as round_to_grid() computes them.
struct GroupGrid {
  float factor;
  float scale;
  float lowest;  // codes from the zero point
  float highest;
  bool zero_moves;  // inside the range of zero points, where a gradient reaches it
};

/// The arrays behind the tensors, row by row.
class GridRows {
 public:
  GridRows(const StartingGrid& start, const GridParameters& parameters)
      : columns_(start.columns),
        groups_(parameters.weight.size(1)),
        length_(parameters.weight.size(2)),
        qmin_(static_cast<float>(start.scheme.qmin())),
        qmax_(static_cast<float>(start.scheme.qmax())),
        weight_(parameters.weight.const_data_ptr<float>()),
        factors_(parameters.factors.const_data_ptr<float>()),
        shifts_(parameters.zero_shift.defined() ? parameters.zero_shift.const_data_ptr<float>()
                                                : nullptr),
        scales_(start.scales.const_data_ptr<float>()),
        zero_points_(start.zero_points.const_data_ptr<float>()),
        keep_(start.keep.defined() ? start.keep.const_data_ptr<bool>() : nullptr) {}

  /// out: [out, columns]
  void round(std::int64_t row, float* out) const {
    for (std::int64_t group = 0; group < groups_; ++group) {
      const GroupGrid grid = group_grid(row, group);
      const float* const weight = weight_ + first(row, group);
      float* const to = out + row * columns_ + group * length_;
      const std::int64_t count = used(group);
      for (std::int64_t i = 0; i < count; ++i) to[i] = code(grid, weight[i]) * grid.scale;
      if (keep_ != nullptr) erase_masked(keep_ + first(row, group), count, to);
    }
  }

  struct Gradients {
    const float* of_output;  // [out, columns]
    float* of_weight;        // zero in the padding
    float* of_factors;
    float* of_shifts;  // nullptr: not asked for
  };

  void differentiate(std::int64_t row, const Gradients& gradients) const {
    for (std::int64_t group = 0; group < groups_; ++group) {
      const GroupGrid grid = group_grid(row, group);
      const float* const weight = weight_ + first(row, group);
      const bool* const keep = keep_ == nullptr ? nullptr : keep_ + first(row, group);
      const float* const from = gradients.of_output + row * columns_ + group * length_;
      float* const to = gradients.of_weight + first(row, group);
      double of_scale = 0;
      double of_ratio = 0;  // of 1 / factor
      double outside = 0;
      for (std::int64_t i = 0; i < used(group); ++i) {
        if (keep != nullptr && !keep[i]) continue;
        const float ratio = weight[i] / grid.factor;
        const float gradient = from[i] * grid.scale;
        of_scale += static_cast<double>(from[i] * code(grid, weight[i]));
        if (ratio >= grid.lowest && ratio <= grid.highest) {
          to[i] = gradient / grid.factor;
          of_ratio += static_cast<double>(gradient * ratio);
        } else {
          outside += static_cast<double>(gradient);
        }
      }
      const std::int64_t at = row * groups_ + group;
      gradients.of_factors[at] = static_cast<float>(static_cast<double>(scales_[at]) * of_scale -
                                                    of_ratio / static_cast<double>(grid.factor));
      if (gradients.of_shifts == nullptr) continue;
      // an end of the grid is qmin or qmax - zero, and zero = start - shift * qmin
      gradients.of_shifts[at] =
          grid.zero_moves ? static_cast<float>(static_cast<double>(qmin_) * outside) : 0;
    }
  }

 private:
  std::int64_t first(std::int64_t row, std::int64_t group) const {
    return (row * groups_ + group) * length_;
  }
  std::int64_t used(std::int64_t group) const {
    return std::min(length_, columns_ - group * length_);
  }

  GroupGrid group_grid(std::int64_t row, std::int64_t group) const {
    const std::int64_t at = row * groups_ + group;
    float zero = zero_points_[at];
    bool moves = false;
    if (shifts_ != nullptr) {
      const float rounded = nearest(zero - shifts_[at] * qmin_);
      moves = rounded >= qmin_ && rounded <= qmax_;
      zero = std::clamp(rounded, qmin_, qmax_);
    }
    return {.factor = factors_[at],
            .scale = scales_[at] * factors_[at],
            .lowest = qmin_ - zero,
            .highest = qmax_ - zero,
            .zero_moves = moves};
  }

  static float code(const GroupGrid& grid, float weight) {
    return nearest(std::min(std::max(weight / grid.factor, grid.lowest), grid.highest));
  }

  static void erase_masked(const bool* keep, std::int64_t count, float* values) {
    for (std::int64_t i = 0; i < count; ++i) {
      if (!keep[i]) values[i] = 0;
    }
  }

  std::int64_t columns_, groups_, length_;
  float qmin_, qmax_;
  const float* weight_;
  const float* factors_;
  const float* shifts_;
  const float* scales_;
  const float* zero_points_;
  const bool* keep_;
};

/// Calls body(row) beside each other.
template <typename Body>
void for_each_row(std::int64_t rows, const Body& body) {
  constexpr std::int64_t kRowsAtLeast = 16;
  at::parallel_for(0, rows, kRowsAtLeast, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) body(row);
  });
}

at::Tensor rounded_values(const StartingGrid& start, const GridParameters& parameters) {
  const std::int64_t rows = parameters.weight.size(0);
  at::Tensor values = at::empty({rows, start.columns}, parameters.weight.options());
  const GridRows grid(start, parameters);
  float* const out = values.data_ptr<float>();
  for_each_row(rows, [&](std::int64_t row) { grid.round(row, out); });
  return values;
}

/// The parameters' gradients, in the order of GridParameters.
class RoundingFunction : public torch::autograd::Function<RoundingFunction> {
 public:
  /// shift: of no elements when zero points stay.
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& weight,
                            const at::Tensor& factors, const at::Tensor& shift,
                            const StartingGrid& start) {
    context->save_for_backward(
        {weight, factors, shift, start.scales, start.zero_points, start.keep});
    context->saved_data["columns"] = start.columns;
    context->saved_data["bits"] = static_cast<std::int64_t>(start.scheme.bits);
    return rounded_values(start, {weight, factors, shift.numel() > 0 ? shift : at::Tensor()});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const bool shifts = saved[2].numel() > 0;
    const GridParameters parameters{saved[0], saved[1], shifts ? saved[2] : at::Tensor()};
    const StartingGrid start{
        .columns = context->saved_data["columns"].toInt(),
        .scheme = {.bits = static_cast<int>(context->saved_data["bits"].toInt())},
        .scales = saved[3],
        .zero_points = saved[4],
        .keep = saved[5]};
    const at::Tensor of_output = gradients[0].contiguous();
    const at::Tensor of_weight = at::zeros_like(parameters.weight);
    const at::Tensor of_factors = at::empty_like(parameters.factors);
    const at::Tensor of_shift = at::empty_like(saved[2]);
    const GridRows grid(start, parameters);
    const GridRows::Gradients found{.of_output = of_output.const_data_ptr<float>(),
                                    .of_weight = of_weight.data_ptr<float>(),
                                    .of_factors = of_factors.data_ptr<float>(),
                                    .of_shifts = shifts ? of_shift.data_ptr<float>() : nullptr};
    for_each_row(of_output.size(0), [&](std::int64_t row) { grid.differentiate(row, found); });
    return {of_weight, of_factors, shifts ? of_shift : at::Tensor(), at::Tensor()};
  }
};

/// [out, groups, length] -> [out, columns]
at::Tensor as_matrix(const at::Tensor& groups, std::int64_t columns) {
  return groups.reshape({groups.size(0), -1}).narrow(1, 0, columns);
}

}  // namespace

TrainedGrid round_to_grid(const StartingGrid& start, const GridParameters& parameters) {
  const auto qmin = static_cast<double>(start.scheme.qmin());
  const auto qmax = static_cast<double>(start.scheme.qmax());
  at::Tensor zeros = start.zero_points;
  if (parameters.zero_shift.defined()) {
    const at::Tensor moved = zeros - parameters.zero_shift * qmin;
    zeros = straight_through(moved.detach().round(), moved).clamp(qmin, qmax);
  }
  const at::Tensor inside =
      at::clamp(parameters.weight / parameters.factors, qmin - zeros, qmax - zeros);
  at::Tensor codes = straight_through(inside.detach().round(), inside);
  if (start.keep.defined()) codes = codes * start.keep;
  return {codes, start.scales * parameters.factors, zeros};
}

at::Tensor rounded_weight(const StartingGrid& start, const GridParameters& parameters) {
  if (!parameters.weight.device().is_cpu()) {
    const TrainedGrid grid = round_to_grid(start, parameters);
    return as_matrix(grid.codes * grid.scales, start.columns);
  }
  if (!at::GradMode::is_enabled()) return rounded_values(start, parameters);
  const at::Tensor shift = parameters.zero_shift.defined() ? parameters.zero_shift : at::empty({0});
  return RoundingFunction::apply(parameters.weight, parameters.factors, shift, start);
}

}  // namespace edgecompress
