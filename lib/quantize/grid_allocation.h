#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace edgecompress {

/// One way to store something.
struct StorageOption {
  std::int64_t bytes = 0;
  double error = 0;  ///< what it costs, not negative
};

/// Chooses one option of each item so that their bytes together are at most `budget` and their
/// errors together are least; of equal errors the fewer bytes.
///
/// items:   each with at least one option.
/// Returns  the index of an option for each item; nothing when even the smallest ones do not fit.
/// Exact when what the sizes differ by has a common divisor of at least 1/131072 of what they
/// differ by at most, as layers of ordinary shapes have; else each is rounded up to a multiple of
/// that share, so that at most as much of the budget as items stays unused.
/// Cost:    131072 * all options operations and 131072 bytes an item, at most.
/// Source:  dynamic programming for the multiple-choice knapsack problem (Kellerer, Pferschy and
///          Pisinger, Knapsack Problems, section 11.5).
std::optional<std::vector<std::size_t>> allocate_grids(
    std::span<const std::vector<StorageOption>> items, std::int64_t budget);

}  // namespace edgecompress
