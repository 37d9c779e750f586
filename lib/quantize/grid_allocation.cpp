#include "quantize/grid_allocation.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMostSteps = 131072;
constexpr double kUnreachable = std::numeric_limits<double>::infinity();

std::int64_t smallest_bytes(const std::vector<StorageOption>& options) {
  ensure(!options.empty() && options.size() <= 255, "1 to 255 options");
  return std::min_element(
             options.begin(), options.end(),
             [](const StorageOption& a, const StorageOption& b) { return a.bytes < b.bytes; })
      ->bytes;
}

/// What the options take beyond the smallest of their item, in units of bytes.
struct Units {
  std::int64_t bytes;

  std::int64_t of(std::int64_t more) const { return (more + bytes - 1) / bytes; }
};

Units units_of(std::span<const std::vector<StorageOption>> items) {
  std::int64_t divisor = 0;
  std::int64_t most = 0;
  for (const std::vector<StorageOption>& options : items) {
    const std::int64_t smallest = smallest_bytes(options);
    std::int64_t largest = 0;
    for (const StorageOption& option : options) {
      divisor = std::gcd(divisor, option.bytes - smallest);
      largest = std::max(largest, option.bytes - smallest);
    }
    most += largest;
  }
  return {std::max({divisor, (most + kMostSteps - 1) / kMostSteps, std::int64_t{1}})};
}

/// The least errors of the items so far, by what they take together, and how they are reached.
class LeastErrors {
 public:
  explicit LeastErrors(std::int64_t steps)
      : errors_(static_cast<std::size_t>(steps) + 1, kUnreachable) {
    errors_.front() = 0;
  }

  void add(const std::vector<StorageOption>& options, Units units) {
    const std::int64_t smallest = smallest_bytes(options);
    std::vector<double> errors(errors_.size(), kUnreachable);
    std::vector<std::uint8_t> chosen(errors_.size(), 0);
    for (std::size_t i = 0; i < options.size(); ++i) {
      const auto more = static_cast<std::size_t>(units.of(options[i].bytes - smallest));
      for (std::size_t at = more; at < errors.size(); ++at) {
        const double error = errors_[at - more] + options[i].error;
        if (!(error < errors[at])) continue;
        errors[at] = error;
        chosen[at] = static_cast<std::uint8_t>(i);
      }
    }
    errors_ = std::move(errors);
    chosen_.push_back(std::move(chosen));
  }

  /// The option of each item on the way to the least error.
  std::vector<std::size_t> choice(std::span<const std::vector<StorageOption>> items,
                                  Units units) const {
    auto at = static_cast<std::size_t>(std::min_element(errors_.begin(), errors_.end()) -
                                       errors_.begin());
    std::vector<std::size_t> choice(items.size());
    for (std::size_t i = items.size(); i-- > 0;) {
      choice[i] = chosen_[i][at];
      const std::int64_t more = items[i][choice[i]].bytes - smallest_bytes(items[i]);
      at -= static_cast<std::size_t>(units.of(more));
    }
    return choice;
  }

 private:
  std::vector<double> errors_;
  std::vector<std::vector<std::uint8_t>> chosen_;  ///< [item][what all until it take]
};

}  // namespace

std::optional<std::vector<std::size_t>> allocate_grids(
    std::span<const std::vector<StorageOption>> items, std::int64_t budget) {
  std::int64_t least = 0;
  for (const std::vector<StorageOption>& options : items) least += smallest_bytes(options);
  if (least > budget) return std::nullopt;
  const Units units = units_of(items);
  LeastErrors table(std::min((budget - least) / units.bytes, kMostSteps));
  for (const std::vector<StorageOption>& options : items) table.add(options, units);
  return table.choice(items, units);
}

}  // namespace edgecompress
