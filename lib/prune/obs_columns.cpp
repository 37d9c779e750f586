#include "prune/obs_columns.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "base/parallel.h"
#include "linear_algebra/product.h"
#include "linear_algebra/triangular.h"
#include "stats/damped_hessian.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowsPerPiece = 64;

MatrixView<double> view_of(const at::Tensor& matrix) {
  return {matrix.data_ptr<double>(), matrix.size(0), matrix.size(1), matrix.size(1)};
}

/// The inverse Hessian and the weights of the columns that are left.
class Columns {
 public:
  // The weight is kept transposed, a row per input: each is one thread's.
  Columns(const at::Tensor& weight, at::Tensor inverse, std::int64_t columns_per_group,
          const ColumnRemoval& removal)
      : weight_(weight.t().to(at::kDouble).contiguous()),
        inverse_(std::move(inverse)),
        width_(columns_per_group),
        alive_(static_cast<std::size_t>(weight.size(1) / columns_per_group), true),
        set_(removal.set > 0 ? static_cast<std::size_t>(removal.set) : alive_.size()),
        left_to_remove_(alive_.size() / set_, removal.count) {}

  /// Removes the best group and returns the loss.
  double remove_best() {
    const std::vector<double> losses = all_losses();
    const auto best = std::min_element(losses.begin(), losses.end());
    remove(best - losses.begin());
    return *best;
  }

  std::vector<std::int64_t> alive() const {
    std::vector<std::int64_t> groups;
    for (std::size_t g = 0; g < alive_.size(); ++g) {
      if (alive_[g]) groups.push_back(static_cast<std::int64_t>(g));
    }
    return groups;
  }

  at::Tensor weight_of(const std::vector<std::int64_t>& groups) const {
    at::Tensor out = at::empty({static_cast<std::int64_t>(groups.size()) * width_, weight_.size(1)},
                               at::kDouble);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      out.narrow(0, static_cast<std::int64_t>(i) * width_, width_)
          .copy_(weight_.narrow(0, groups[i] * width_, width_));
    }
    return out.t().to(at::kFloat).contiguous();
  }

 private:
  /// X with (I_gg)^-1 = X^T X, negated; I the inverse Hessian.
  at::Tensor negated_factor(std::int64_t group) const {
    at::Tensor factor = inverse_.narrow(0, group * width_, width_)
                            .narrow(1, group * width_, width_)
                            .clone(at::MemoryFormat::Contiguous);
    // A principal part of a positive definite matrix; rounding alone can break that.
    if (!factor_cholesky(view_of(factor), 1)) {
      throw Error(ErrorKind::Numeric, "N4",
                  concat("the inverse Hessian of group ", group,
                         " is not positive definite; use more damping"));
    }
    invert_lower(view_of(factor), 1);
    return factor.neg_();
  }

  /// X M_g, of a group's rows of a matrix.
  at::Tensor scaled_rows(const at::Tensor& negated_factor, const at::Tensor& matrix,
                         std::int64_t group) const {
    at::Tensor out = at::zeros({width_, matrix.size(1)}, at::kDouble);
    subtract_product(view_of(negated_factor),
                     view_of(matrix).part(group * width_, width_, 0, matrix.size(1)), view_of(out));
    return out;
  }

  // sum over outputs of w_g (I_gg)^-1 w_g^T = ||X w_g^T||^2.
  double loss_of(std::int64_t group) const {
    if (width_ == 1) {
      const double pivot = view_of(inverse_).row(group)[group];
      return square_of(view_of(weight_).row(group), weight_.size(1)) / pivot;
    }
    const at::Tensor scaled = scaled_rows(negated_factor(group), weight_, group);
    return square_of(scaled.const_data_ptr<double>(), scaled.numel());
  }

  static double square_of(const double* values, std::int64_t count) {
    double lanes[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
      for (int lane = 0; lane < 8; ++lane) lanes[lane] += values[i + lane] * values[i + lane];
    }
    double sum = 0;
    for (; i < count; ++i) sum += values[i] * values[i];
    for (const double lane : lanes) sum += lane;
    return sum;
  }

  std::vector<double> all_losses() const {
    std::vector<double> losses(alive_.size(), std::numeric_limits<double>::infinity());
    parallel_for(static_cast<std::int64_t>(alive_.size()), width_ == 1 ? kRowsPerPiece : 1,
                 at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t g = begin; g < end; ++g) {
                     const auto at = static_cast<std::size_t>(g);
                     if (alive_[at] && left_to_remove_[at / set_] > 0) losses[at] = loss_of(g);
                   }
                 });
    return losses;
  }

  void remove(std::int64_t group) {
    const at::Tensor factor = negated_factor(group);
    const at::Tensor beside = scaled_rows(factor, inverse_, group);  // P = X I_g, [width, columns]
    const at::Tensor output = scaled_rows(factor, weight_, group);   // X w_g^T, [width, outputs]
    const at::Tensor shares = beside.t().contiguous();
    parallel_for(inverse_.size(0), kRowsPerPiece, at::get_num_threads(),
                 [&](std::int64_t begin, std::int64_t end) {
                   const auto part = view_of(shares).part(begin, end - begin, 0, width_);
                   subtract_rows(part, view_of(beside), view_of(inverse_), begin);
                   subtract_rows(part, view_of(output), view_of(weight_), begin);
                 });
    inverse_.narrow(0, group * width_, width_).zero_();
    inverse_.narrow(1, group * width_, width_).zero_();
    weight_.narrow(0, group * width_, width_).zero_();
    alive_[static_cast<std::size_t>(group)] = false;
    --left_to_remove_[static_cast<std::size_t>(group) / set_];
  }

  /// Rows of `matrix` from `begin` on -= shares rows. Rank one is bound by memory: whole rows.
  static void subtract_rows(MatrixView<const double> shares, MatrixView<const double> rows,
                            MatrixView<double> matrix, std::int64_t begin) {
    const auto part = matrix.part(begin, shares.rows, 0, matrix.columns);
    if (shares.columns > 1) return subtract_product(shares, rows, part);
    for (std::int64_t i = 0; i < part.rows; ++i) {
      const double share = shares.row(i)[0];
      if (share == 0) continue;  // removed before
      subtract_multiple(share, rows.first, part.row(i), part.columns);
    }
  }

  at::Tensor weight_;   // [columns, outputs]
  at::Tensor inverse_;  // [columns, columns]
  std::int64_t width_;
  std::vector<bool> alive_;
  std::size_t set_;
  std::vector<std::int64_t> left_to_remove_;  // of each set
};

}  // namespace

std::optional<KeptColumns> remove_columns_obs(const at::Tensor& weight, const at::Tensor& hessian,
                                              std::int64_t columns_per_group,
                                              const ColumnRemoval& removal, double damping) {
  ensure(weight.dim() == 2 && weight.scalar_type() == at::kFloat && weight.device().is_cpu(),
         "a float matrix in main memory");
  ensure(columns_per_group > 0 && weight.size(1) % columns_per_group == 0,
         "columns that fill whole groups");
  const std::int64_t groups = weight.size(1) / columns_per_group;
  const std::int64_t set = removal.set > 0 ? removal.set : groups;
  ensure(groups % set == 0 && removal.count >= 0 && removal.count <= set,
         "whole sets, and at most as many groups removed as a set has");
  const DampedHessian damped = damp(hessian, damping);
  auto inverted = inverse(damped);
  if (!inverted) return std::nullopt;
  // Whatever the weights of a dead column are, they add nothing to the output.
  at::Tensor live = weight.clone();
  for (const std::int64_t dead : damped.dead_columns) live.select(1, dead).zero_();
  Columns columns(live, std::move(*inverted), columns_per_group, removal);
  KeptColumns result{{}, {}, 0};
  for (std::int64_t i = 0; i < groups / set * removal.count; ++i) {
    result.output_error += columns.remove_best();
  }
  result.groups = columns.alive();
  result.weight = columns.weight_of(result.groups);
  for (const std::int64_t dead : damped.dead_columns) {
    const auto group =
        std::lower_bound(result.groups.begin(), result.groups.end(), dead / columns_per_group);
    if (group == result.groups.end() || *group != dead / columns_per_group) continue;
    result.weight
        .select(1, (group - result.groups.begin()) * columns_per_group + dead % columns_per_group)
        .copy_(weight.select(1, dead));
  }
  return result;
}

}  // namespace edgecompress
