#pragma once

#include <cstdint>
#include <vector>

namespace edgecompress {

/// Which windows of a text are trained on and which only judge.
struct TrainingSplit {
  std::vector<std::int64_t> training;
  std::vector<std::int64_t> held_out;
};

/// Holds out `share` of the windows, at least one and at most kMostHeldOut, spread evenly.
/// Throws Error{Malformed} F24 when there are fewer than two windows.
inline constexpr std::int64_t kMostHeldOut = 64;
TrainingSplit split_windows(std::int64_t count, double share);

/// The windows in the order of one epoch. The same seed and epoch give the same order everywhere.
std::vector<std::int64_t> shuffled(std::vector<std::int64_t> windows, std::uint64_t seed,
                                   std::int64_t epoch);

}  // namespace edgecompress
