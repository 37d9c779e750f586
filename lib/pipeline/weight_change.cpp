#include "pipeline/weight_change.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::size_t kPiece = 1 << 16;  // worth handing to a thread
constexpr std::size_t kChunk = 256;      // short enough for sums in float
constexpr std::size_t kLanes = 8;        // independent sums, which the compiler keeps in vectors

std::span<const float> values_of(const at::Tensor& values) {
  ensure(values.is_contiguous() && values.scalar_type() == at::kFloat, "a contiguous float tensor");
  return {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())};
}

struct FloatSums {
  std::array<float, kLanes> energy{};
  std::array<float, kLanes> moved{};
};

FloatSums chunk_sums(const float* before, const float* stored, std::size_t count) {
  FloatSums sums;
  const auto add = [&](std::size_t i, std::size_t lane) {
    const float difference = before[i] - stored[i];
    sums.energy[lane] += before[i] * before[i];
    sums.moved[lane] += difference * difference;
  };
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  }
  for (; i < count; ++i) add(i, 0);
  return sums;
}

WeightChange piece_change(std::span<const float> before, std::span<const float> stored) {
  WeightChange change{.zeros_before = count_zeros(before),
                      .zeros = count_zeros(stored),
                      .count = static_cast<std::int64_t>(before.size())};
  for (std::size_t begin = 0; begin < before.size(); begin += kChunk) {
    const FloatSums sums = chunk_sums(before.data() + begin, stored.data() + begin,
                                      std::min(kChunk, before.size() - begin));
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      change.energy += static_cast<double>(sums.energy[lane]);
      change.moved += static_cast<double>(sums.moved[lane]);
    }
  }
  return change;
}

/// Adds up body(offset, size) over pieces of `size` elements, in their order.
template <typename Sum, typename Body>
Sum sum_of_pieces(std::size_t size, int num_threads, const Body& body) {
  const std::size_t pieces = (size + kPiece - 1) / kPiece;
  std::vector<Sum> parts(pieces);
  parallel_for(static_cast<std::int64_t>(pieces), 1, num_threads,
               [&](std::int64_t begin, std::int64_t end) {
                 for (auto piece = static_cast<std::size_t>(begin);
                      piece < static_cast<std::size_t>(end); ++piece) {
                   parts[piece] = body(piece * kPiece, std::min(kPiece, size - piece * kPiece));
                 }
               });
  Sum sum{};
  for (const Sum& part : parts) sum += part;
  return sum;
}

}  // namespace

WeightChange& WeightChange::operator+=(const WeightChange& part) {
  energy += part.energy;
  moved += part.moved;
  zeros_before += part.zeros_before;
  zeros += part.zeros;
  count += part.count;
  return *this;
}

double WeightChange::sparsity() const {
  return static_cast<double>(zeros) / static_cast<double>(count);
}

double WeightChange::relative_error() const {
  return energy > 0 ? moved / energy : (moved > 0 ? 1.0 : 0.0);
}

WeightChange change_between(std::span<const float> before, std::span<const float> stored,
                            int num_threads) {
  ensure(before.size() == stored.size(), "matrices of one size");
  return sum_of_pieces<WeightChange>(
      before.size(), num_threads, [&](std::size_t offset, std::size_t size) {
        return piece_change(before.subspan(offset, size), stored.subspan(offset, size));
      });
}

WeightChange change_between(const at::Tensor& before, const at::Tensor& stored, int num_threads) {
  return change_between(values_of(before), values_of(stored), num_threads);
}

std::int64_t count_zeros(std::span<const float> values) {
  const float* const value = values.data();
  const std::size_t count = values.size();
  std::int64_t zeros = 0;
  for (std::size_t begin = 0; begin < count; begin += kPiece) {
    std::int32_t some = 0;  // as narrow as a float, so that as many are counted at once
    const std::size_t end = std::min(begin + kPiece, count);
    for (std::size_t i = begin; i < end; ++i) some += value[i] == 0.0F ? 1 : 0;
    zeros += some;
  }
  return zeros;
}

std::int64_t count_zeros(const at::Tensor& values, int num_threads) {
  const std::span<const float> all = values_of(values);
  return sum_of_pieces<std::int64_t>(
      all.size(), num_threads,
      [&](std::size_t offset, std::size_t size) { return count_zeros(all.subspan(offset, size)); });
}

}  // namespace edgecompress
