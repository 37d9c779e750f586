// Included by kernel files that have no instruction for it; no other file may include it.
#pragma once

#include <cstdint>

namespace edgecompress {
namespace {

/// For each 8-bit mask, the byte shuffles that move the selected bytes together, and that move
/// leading bytes to the selected places. 0x80 makes a zero.
struct Shuffles {
  std::uint8_t squeeze[256][8];
  std::uint8_t spread[256][8];
};

constexpr Shuffles make_shuffles() {
  Shuffles made{};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (int i = 0; i < 8; ++i) {
      made.squeeze[mask][i] = 0x80;
      made.spread[mask][i] = 0x80;
    }
    for (int i = 0; i < 8; ++i) {
      if (((mask >> i) & 1) == 0) continue;
      made.spread[mask][i] = static_cast<std::uint8_t>(count);
      made.squeeze[mask][count++] = static_cast<std::uint8_t>(i);
    }
  }
  return made;
}
constexpr Shuffles kShuffles = make_shuffles();

}  // namespace
}  // namespace edgecompress
