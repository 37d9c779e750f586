#include "prune/keep_mask.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <string>
#include <vector>

#include <ATen/Parallel.h>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/parallel.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

/// The scores of a matrix, computed when asked for: a copy would be twice as large as the weight.
class Scores {
 public:
  Scores(const float* weight, std::int64_t rows, std::int64_t columns, std::vector<double> norm)
      : weight_(weight), rows_(rows), columns_(columns), norm_(std::move(norm)) {}

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }

  // The product of two floats is exact in double, so equal norms leave magnitude's order as it is.
  double at(std::int64_t row, std::int64_t column) const {
    const double magnitude = std::abs(weight_[row * columns_ + column]);
    return norm_.empty() ? magnitude : magnitude * norm_[static_cast<std::size_t>(column)];
  }

 private:
  const float* weight_;
  std::int64_t rows_;
  std::int64_t columns_;
  std::vector<double> norm_;  // [columns], or empty
};

/// Decides for every candidate in the order of its index whether it stays.
class Keeper {
 public:
  Keeper(std::uint64_t limit, std::int64_t ties_kept) : limit_(limit), ties_kept_(ties_kept) {}

  bool keeps(double score) {
    const auto key = std::bit_cast<std::uint64_t>(score);
    return key == limit_ ? ties_kept_-- > 0 : key > limit_;
  }

 private:
  std::uint64_t limit_;
  std::int64_t ties_kept_;
};

/// Some scores in pieces that threads may share; visit(piece, use) calls use(score) in order.
template <typename Visit>
struct Candidates {
  std::int64_t pieces;
  std::int64_t count;
  Visit visit;
};

/// Counts the scores that begin with `prefix` by the eight bits that follow it.
template <typename Visit>
std::array<std::int64_t, 256> count_digits(const Candidates<Visit>& candidates, int num_threads,
                                           std::uint64_t prefix, int shift) {
  std::array<std::int64_t, 256> total{};
  std::mutex lock;
  const std::int64_t grain = ceil_divide(candidates.pieces, 16);
  parallel_for(candidates.pieces, grain, num_threads, [&](std::int64_t begin, std::int64_t end) {
    std::array<std::int64_t, 256> digits{};
    for (std::int64_t piece = begin; piece < end; ++piece) {
      candidates.visit(piece, [&](double score) {
        const std::uint64_t leading = std::bit_cast<std::uint64_t>(score) >> shift;
        if ((leading >> 8) == prefix) ++digits[leading & 0xFF];
      });
    }
    const std::lock_guard guard(lock);
    for (std::size_t d = 0; d < digits.size(); ++d) total[d] += digits[d];
  });
  return total;
}

/// Finds the keeper that drops the `drop` smallest scores, the later ones of equals.
///
/// Scores are finite and not negative, so that they order as their bits do. Cost: a radix selection
/// of up to eight passes, no copy of the scores; exact and the same for any num_threads.
template <typename Visit>
Keeper find_keeper(const Candidates<Visit>& candidates, std::int64_t drop, int num_threads) {
  if (drop == candidates.count) return {~std::uint64_t{0}, 0};
  std::uint64_t prefix = 0;
  std::int64_t to_drop = drop;  // among the scores that begin with prefix
  std::int64_t ties = candidates.count;
  for (int shift = 56; shift >= 0; shift -= 8) {
    const auto digits = count_digits(candidates, num_threads, prefix, shift);
    std::size_t digit = 0;
    while (to_drop >= digits[digit]) to_drop -= digits[digit++];
    ties = digits[digit];
    prefix = (prefix << 8) | digit;
    if (to_drop == 0) return {prefix << shift, ties};  // all that begin with prefix stay
  }
  return {prefix, ties - to_drop};
}

// Python's round(): torch.nn.utils.prune.l1_unstructured counts so.
std::int64_t share_of(double sparsity, std::int64_t candidates) {
  ensure(sparsity >= 0 && sparsity <= 1, "a sparsity of 0 to 1");
  return std::llrint(sparsity * static_cast<double>(candidates));
}

/// Writes the mask of each pattern. keep: [rows, columns].
struct MaskWriter {
  const Scores& scores;
  bool* keep;
  int num_threads;

  void operator()(const Unstructured& pattern) const {
    const std::int64_t columns = scores.columns();
    const std::int64_t count = scores.rows() * columns;
    const Candidates matrix{scores.rows(), count, [&](std::int64_t row, const auto& use) {
                              for (std::int64_t i = 0; i < columns; ++i) use(scores.at(row, i));
                            }};
    Keeper keeper = find_keeper(matrix, share_of(pattern.sparsity, count), num_threads);
    bool* next = keep;
    for (std::int64_t row = 0; row < scores.rows(); ++row) {
      matrix.visit(row, [&](double score) { *next++ = keeper.keeps(score); });
    }
  }

  void operator()(const PerRow& pattern) const {
    const std::int64_t columns = scores.columns();
    const std::int64_t drop = share_of(pattern.sparsity, columns);
    for_rows(scores.rows(), [&](std::int64_t row) {
      const Candidates one_row{1, columns, [&](std::int64_t, const auto& use) {
                                 for (std::int64_t i = 0; i < columns; ++i) use(scores.at(row, i));
                               }};
      Keeper keeper = find_keeper(one_row, drop, 1);
      bool* next = keep + row * columns;
      one_row.visit(0, [&](double score) { *next++ = keeper.keeps(score); });
    });
  }

  void operator()(const NofM& pattern) const {
    const std::int64_t columns = scores.columns();
    ensure(pattern.of > 0 && pattern.keep >= 0 && pattern.keep <= pattern.of, "0 <= N <= M");
    if (columns % pattern.of != 0) {
      throw Error(ErrorKind::Unsupported, "U1",
                  concat(pattern.keep, ":", pattern.of, " needs rows of a multiple of ", pattern.of,
                         " weights, this matrix has ", columns,
                         "; choose another pattern or except the module"));
    }
    for_rows(scores.rows(), [&](std::int64_t row) {
      std::vector<double> run(static_cast<std::size_t>(pattern.of));
      for (std::int64_t begin = 0; begin < columns; begin += pattern.of) {
        for (std::int64_t i = 0; i < pattern.of; ++i) {
          run[static_cast<std::size_t>(i)] = scores.at(row, begin + i);
        }
        keep_best(run, pattern.keep, keep + row * columns + begin);
      }
    });
  }

  void operator()(const Blocks& pattern) const {
    ensure(pattern.rows > 0 && pattern.columns > 0, "a tile of at least one weight");
    const std::int64_t tiles = ceil_divide(scores.columns(), pattern.columns);
    const std::int64_t drop = share_of(pattern.sparsity, tiles);
    for_rows(ceil_divide(scores.rows(), pattern.rows), [&](std::int64_t strip) {
      const std::int64_t begin = strip * pattern.rows;
      const std::int64_t end = std::min(begin + pattern.rows, scores.rows());
      write_strip(begin, end, pattern.columns, tiles, drop);
    });
  }

 private:
  template <typename Body>
  void for_rows(std::int64_t count, const Body& body) const {
    const std::int64_t grain = ceil_divide(count, 16 * num_threads);
    parallel_for(count, std::max<std::int64_t>(grain, 1), num_threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) body(i);
                 });
  }

  // Counting who is better costs M comparisons per weight, less than any sort for the M in use.
  static void keep_best(const std::vector<double>& run, std::int64_t count, bool* out) {
    for (std::size_t i = 0; i < run.size(); ++i) {
      std::int64_t better = 0;
      for (std::size_t j = 0; j < i; ++j) better += run[j] >= run[i] ? 1 : 0;
      for (std::size_t j = i + 1; j < run.size(); ++j) better += run[j] > run[i] ? 1 : 0;
      out[i] = better < count;
    }
  }

  void write_strip(std::int64_t begin, std::int64_t end, std::int64_t tile_columns,
                   std::int64_t tiles, std::int64_t drop) const {
    const std::int64_t columns = scores.columns();
    std::vector<double> tile_scores(static_cast<std::size_t>(tiles));
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        const double score = scores.at(row, column);
        tile_scores[static_cast<std::size_t>(column / tile_columns)] += score * score;
      }
    }
    const Candidates strip{1, tiles, [&](std::int64_t, const auto& use) {
                             for (const double score : tile_scores) use(score);
                           }};
    Keeper keeper = find_keeper(strip, drop, 1);
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const bool kept = keeper.keeps(tile_scores[static_cast<std::size_t>(tile)]);
      const std::int64_t first = tile * tile_columns;
      const std::int64_t last = std::min(first + tile_columns, columns);
      for (std::int64_t row = begin; row < end; ++row) {
        std::fill(keep + row * columns + first, keep + row * columns + last, kept);
      }
    }
  }
};

void refuse_non_finite(const float* weight, std::int64_t rows, std::int64_t columns) {
  const float* const end = weight + rows * columns;
  const float* const bad = std::find_if(weight, end, [](float w) { return !std::isfinite(w); });
  if (bad == end) return;
  const std::int64_t index = bad - weight;
  throw Error(ErrorKind::Numeric, "N1",
              concat("weight [", index / columns, ", ", index % columns, "] is ", *bad,
                     "; a mask needs finite weights. The checkpoint is damaged or its training "
                     "diverged; start from one without it"));
}

std::vector<double> checked_norm(const at::Tensor& input_norm, std::int64_t columns) {
  ensure(input_norm.defined() && input_norm.dim() == 1 && input_norm.size(0) == columns,
         "an input norm of [in_features]");
  const at::Tensor values = input_norm.to(at::kCPU, at::kDouble).contiguous();
  const double* const begin = values.const_data_ptr<double>();
  const double* const end = begin + columns;
  const double* const bad =
      std::find_if(begin, end, [](double norm) { return !(norm >= 0 && std::isfinite(norm)); });
  if (bad != end) {
    throw Error(
        ErrorKind::Numeric, "N2",
        concat("the norm of input ", bad - begin, " over the calibration text is ", *bad,
               "; the model overflows on this text. Check it with `edgecompress eval` first"));
  }
  return {begin, end};
}

}  // namespace

at::Tensor keep_mask(const at::Tensor& weight, const at::Tensor& input_norm,
                     const MaskMethod& method, const SparsityPattern& pattern) {
  ensure(weight.dim() == 2 && weight.scalar_type() == at::kFloat && weight.device().is_cpu(),
         "a float matrix in main memory");
  const at::Tensor dense = weight.contiguous();  // [out, in]
  const std::int64_t rows = dense.size(0);
  const std::int64_t columns = dense.size(1);
  refuse_non_finite(dense.const_data_ptr<float>(), rows, columns);
  std::vector<double> norm;
  if (std::holds_alternative<WandaMask>(method)) norm = checked_norm(input_norm, columns);
  const Scores scores(dense.const_data_ptr<float>(), rows, columns, std::move(norm));
  at::Tensor keep = at::empty({rows, columns}, at::kBool);
  std::visit(MaskWriter{scores, keep.mutable_data_ptr<bool>(), at::get_num_threads()}, pattern);
  return keep;
}

}  // namespace edgecompress
