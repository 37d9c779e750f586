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
constexpr std::size_t kLanes = 8;        // independent sums that the compiler keeps in vectors

std::span<const float> values_of(const at::Tensor& values) {
  ensure(values.is_contiguous() && values.scalar_type() == at::kFloat, "a contiguous float tensor");
  return {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())};
}

double total(const std::array<double, kLanes>& lanes) {
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

std::int64_t zeros_in(std::span<const float> values) {
  return std::count(values.begin(), values.end(), 0.0F);
}

WeightChange piece_change(std::span<const float> before, std::span<const float> stored) {
  std::array<double, kLanes> energy{};
  std::array<double, kLanes> moved{};
  const auto add = [&](std::size_t i, std::size_t lane) {
    const double weight = before[i];
    const double difference = weight - static_cast<double>(stored[i]);
    energy[lane] += weight * weight;
    moved[lane] += difference * difference;
  };
  std::size_t i = 0;
  for (; i + kLanes <= before.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  }
  for (; i < before.size(); ++i) add(i, 0);
  return {.energy = total(energy),
          .moved = total(moved),
          .zeros = zeros_in(stored),
          .count = static_cast<std::int64_t>(before.size())};
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

std::int64_t count_zeros(const at::Tensor& values, int num_threads) {
  const std::span<const float> all = values_of(values);
  return sum_of_pieces<std::int64_t>(
      all.size(), num_threads,
      [&](std::size_t offset, std::size_t size) { return zeros_in(all.subspan(offset, size)); });
}

}  // namespace edgecompress
