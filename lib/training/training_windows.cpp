#include "training/training_windows.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace edgecompress {
namespace {

/// Vigna's splitmix64: every state gives a number that passes statistical tests.
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t state) : state_(state) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

}  // namespace

TrainingSplit split_windows(std::int64_t count, double share) {
  if (count < 2) {
    throw Error(ErrorKind::Malformed, "F24",
                concat("the training text has ", count,
                       " windows; one to train on and one to judge by are the least: give more "
                       "text or a shorter sequence length"));
  }
  const auto wanted = std::llround(share * static_cast<double>(count));
  const std::int64_t most = std::min(kMostHeldOut, count / 2);
  const std::int64_t held_out = std::clamp<std::int64_t>(wanted, 1, most);
  TrainingSplit split;
  for (std::int64_t i = 0; i < held_out; ++i) {
    split.held_out.push_back((2 * i + 1) * count / (2 * held_out));  // the middle of its stretch
  }
  for (std::int64_t window = 0; window < count; ++window) {
    if (!std::binary_search(split.held_out.begin(), split.held_out.end(), window)) {
      split.training.push_back(window);
    }
  }
  return split;
}

std::vector<std::int64_t> shuffled(std::vector<std::int64_t> windows, std::uint64_t seed,
                                   std::int64_t epoch) {
  SplitMix random(SplitMix(seed).next() + static_cast<std::uint64_t>(epoch));
  for (std::size_t left = windows.size(); left > 1; --left) {
    std::swap(windows[left - 1], windows[random.next() % left]);
  }
  return windows;
}

}  // namespace edgecompress
