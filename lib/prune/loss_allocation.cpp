#include "prune/loss_allocation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <set>

#include <ATen/Parallel.h>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/parallel.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

// Bits of a double: the sign, which is 0, the exponent, and the first 5 of the fraction.
constexpr int kDroppedBits = 47;
constexpr std::size_t kSteps = std::size_t{1} << 16;
constexpr std::int64_t kRowsPerPiece = 64;
constexpr int kBisections = 60;

std::uint32_t step_of_cost(double cost) {
  return static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(cost) >> kDroppedBits);
}

/// Weights that go together.
struct Tile {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
};

Tile tile_of(const SparsityPattern& pattern) {
  ensure(!std::holds_alternative<NofM>(pattern), "a pattern with a sparsity");
  const auto* const blocks = std::get_if<Blocks>(&pattern);
  return blocks == nullptr ? Tile{} : Tile{blocks->rows, blocks->columns};
}

/// Adds a strip's tiles, of `height` rows from `row` on, to the counts.
class StripCounter {
 public:
  StripCounter(const at::Tensor& weight, const LayerSensitivity& sensitivity, Tile tile)
      : weight_(weight.const_data_ptr<float>()),
        columns_(weight.size(1)),
        sensitivity_(sensitivity),
        tile_(tile) {}

  void count(std::int64_t row, std::int64_t height, std::vector<std::int64_t>& counts) const {
    for (std::int64_t left = 0; left < columns_; left += tile_.columns) {
      const std::int64_t right = std::min(left + tile_.columns, columns_);
      double sum = 0;
      for (std::int64_t r = row; r < row + height; ++r) sum += cost(r, left, right);
      const std::int64_t size = height * (right - left);
      const double mean = sum / static_cast<double>(size);
      if (!std::isfinite(mean)) {
        throw Error(ErrorKind::Numeric, "N1",
                    concat("what dropping the weights of rows ", row, " to ", row + height - 1,
                           ", columns ", left, " to ", right - 1,
                           " costs is not finite; the checkpoint is damaged or its training "
                           "diverged"));
      }
      counts[step_of_cost(mean)] += size;
    }
  }

 private:
  double cost(std::int64_t row, std::int64_t left, std::int64_t right) const {
    const float* const weight = weight_ + row * columns_;
    double sum = 0;
    for (std::int64_t j = left; j < right; ++j) {
      const double w = weight[j];
      sum += w * w * sensitivity_.inputs[static_cast<std::size_t>(j)];
    }
    return sum * sensitivity_.outputs[static_cast<std::size_t>(row)];
  }

  const float* weight_;
  std::int64_t columns_;
  const LayerSensitivity& sensitivity_;
  Tile tile_;
};

/// Where all matrices are cut: costs below a step go, and a part of those in it.
struct Threshold {
  std::uint32_t step;
  double part;
};

class Allocation {
 public:
  Allocation(const std::vector<AllocatedMatrix>& matrices, double sparsity)
      : matrices_(matrices), most_(std::max(kMostDropped, sparsity)) {
    for (const AllocatedMatrix& matrix : matrices) all_ += static_cast<double>(matrix.weights);
  }

  std::vector<double> shares_at(Threshold threshold) const {
    std::vector<double> shares;
    for (const AllocatedMatrix& matrix : matrices_) {
      const DropCosts::Share share = matrix.costs.share(threshold.step);
      shares.push_back(std::min(share.below + threshold.part * share.inside, most_));
    }
    return shares;
  }

  /// Of all weights.
  double dropped_at(Threshold threshold) const {
    const std::vector<double> shares = shares_at(threshold);
    double sum = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      sum += shares[i] * static_cast<double>(matrices_[i].weights);
    }
    return sum / all_;
  }

 private:
  const std::vector<AllocatedMatrix>& matrices_;
  double most_;
  double all_ = 0;
};

}  // namespace

DropCosts::DropCosts(const at::Tensor& weight, const LayerSensitivity& sensitivity,
                     const SparsityPattern& pattern) {
  ensure(weight.dim() == 2 && weight.scalar_type() == at::kFloat && weight.is_contiguous(),
         "a contiguous float matrix");
  const std::int64_t rows = weight.size(0);
  ensure(static_cast<std::int64_t>(sensitivity.outputs.size()) == rows &&
             static_cast<std::int64_t>(sensitivity.inputs.size()) == weight.size(1),
         "a sensitivity of the weight's shape");
  const Tile tile = tile_of(pattern);
  const StripCounter strips(weight, sensitivity, tile);
  std::vector<std::int64_t> counts(kSteps);
  std::mutex lock;
  const std::int64_t strips_per_piece = ceil_divide(kRowsPerPiece, tile.rows);
  parallel_for(ceil_divide(rows, tile.rows), strips_per_piece, at::get_num_threads(),
               [&](std::int64_t begin, std::int64_t end) {
                 std::vector<std::int64_t> own(kSteps);
                 for (std::int64_t row = begin * tile.rows; row < std::min(end * tile.rows, rows);
                      row += tile.rows) {
                   strips.count(row, std::min(tile.rows, rows - row), own);
                 }
                 const std::lock_guard guard(lock);
                 for (std::size_t step = 0; step < kSteps; ++step) counts[step] += own[step];
               });
  for (std::size_t step = 0; step < kSteps; ++step) {
    if (counts[step] == 0) continue;
    counts_.emplace_back(static_cast<std::uint32_t>(step), counts[step]);
    total_ += counts[step];
  }
}

DropCosts::Share DropCosts::share(std::uint32_t step) const {
  Share share{0, 0};
  for (const auto& [own, count] : counts_) {
    if (own < step) share.below += static_cast<double>(count);
    if (own == step) share.inside = static_cast<double>(count);
  }
  const auto total = static_cast<double>(total_);
  return {share.below / total, share.inside / total};
}

std::vector<double> sparsities_by_cost(const std::vector<AllocatedMatrix>& matrices,
                                       double sparsity) {
  ensure(!matrices.empty(), "at least one matrix");
  ensure(sparsity >= 0 && sparsity <= 1, "a sparsity of 0 to 1");
  const Allocation allocation(matrices, sparsity);
  std::set<std::uint32_t> distinct;
  for (const AllocatedMatrix& matrix : matrices) {
    for (const auto& [step, count] : matrix.costs.counts()) distinct.insert(step);
  }
  const std::vector<std::uint32_t> steps(distinct.begin(), distinct.end());
  // The first step that, dropped whole, reaches the sparsity.
  const auto found = std::partition_point(steps.begin(), steps.end(), [&](std::uint32_t step) {
    return allocation.dropped_at({step, 1}) < sparsity;
  });
  const std::uint32_t step = found == steps.end() ? steps.back() : *found;
  double least = 0;
  double most = 1;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (least + most) / 2;
    (allocation.dropped_at({step, middle}) < sparsity ? least : most) = middle;
  }
  return allocation.shares_at({step, most});
}

}  // namespace edgecompress
