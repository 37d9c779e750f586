#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// How the weights that are stored differ from those they stand for. Adding up changes of parts, in
/// a fixed order, gives the change of the whole.
struct WeightChange {
  double energy = 0;  ///< sum of the squared weights before
  double moved = 0;   ///< sum of the squared differences
  std::int64_t zeros_before = 0;
  std::int64_t zeros = 0;  ///< weights that are stored as 0
  std::int64_t count = 0;

  WeightChange& operator+=(const WeightChange& part);

  double sparsity() const;
  double relative_error() const;  ///< moved / energy; 0 when nothing was there and nothing moved
};

/// Compares two matrices of one size. The same for any num_threads; needs no memory of the
/// matrices' size.
WeightChange change_between(std::span<const float> before, std::span<const float> stored,
                            int num_threads);
/// before, stored: contiguous, float, on the CPU.
WeightChange change_between(const at::Tensor& before, const at::Tensor& stored, int num_threads);

std::int64_t count_zeros(std::span<const float> values);
/// values: contiguous, float, on the CPU.
std::int64_t count_zeros(const at::Tensor& values, int num_threads);

}  // namespace edgecompress
