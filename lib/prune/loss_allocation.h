#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "weights/sparsity_pattern.h"

namespace edgecompress {

/// How a linear layer stands between its inputs and the loss.
struct LayerSensitivity {
  std::vector<double> inputs;   ///< [in_features], mean x^2 over the tokens
  std::vector<double> outputs;  ///< [out_features], mean (dL/dy)^2
};

/// What dropping the weights of one matrix costs the loss to second order, each for itself:
/// (dL/dy)^2 w^2 x^2, the means taken apart; of a tile the mean of its weights.
///
/// Kept as numbers of weights by cost, the costs in steps of 1/32 of a power of two, so that it
/// stays small whatever the matrix is.
class DropCosts {
 public:
  /// weight: [out_features, in_features] float. pattern: says which weights go together; N:M has no
  /// sparsity to spread and is not taken. The same for any number of threads.
  /// Throws Error{Numeric} N1 when a cost is not finite.
  DropCosts(const at::Tensor& weight, const LayerSensitivity& sensitivity,
            const SparsityPattern& pattern);

  /// The share of the weights that cost less than a step, and the share in it.
  struct Share {
    double below;
    double inside;
  };
  Share share(std::uint32_t step) const;

  const std::vector<std::pair<std::uint32_t, std::int64_t>>& counts() const { return counts_; }

 private:
  std::vector<std::pair<std::uint32_t, std::int64_t>> counts_;  // by step, ascending
  std::int64_t total_ = 0;
};

/// A matrix that a sparsity is spread over.
struct AllocatedMatrix {
  DropCosts costs;
  std::int64_t weights;  ///< as many as it has where it is masked
};

/// Sparsities, one a matrix, that drop `sparsity` of all weights together: those that cost the
/// least, wherever they are. No matrix loses more than kMostDropped, or than `sparsity` when that
/// is more.
///
/// Source: optimal brain damage (LeCun et al., 1989) with the second derivatives of a Kronecker
/// factored Fisher matrix, of which only the diagonals are used (arXiv 1503.05671).
std::vector<double> sparsities_by_cost(const std::vector<AllocatedMatrix>& matrices,
                                       double sparsity);

inline constexpr double kMostDropped = 0.95;

}  // namespace edgecompress
