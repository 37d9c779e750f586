#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "base/float16.h"
#include "panel_sparse/code_layout.h"

namespace edgecompress {

// Every machine edgecompress runs on is little-endian; a big-endian one would need byte swaps here.
static_assert(std::endian::native == std::endian::little);

template <typename T>
T load_as(const std::uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline std::uint16_t load_u16(const std::uint8_t* from) { return load_as<std::uint16_t>(from); }
inline std::uint32_t load_u32(const std::uint8_t* from) { return load_as<std::uint32_t>(from); }
inline std::uint64_t load_u64(const std::uint8_t* from) { return load_as<std::uint64_t>(from); }
inline void store_u16(std::uint8_t* to, std::uint16_t value) { std::memcpy(to, &value, 2); }
inline void store_u32(std::uint8_t* to, std::uint32_t value) { std::memcpy(to, &value, 4); }
inline void store_u64(std::uint8_t* to, std::uint64_t value) { std::memcpy(to, &value, 8); }

/// Scale number `index` of a row of scales of either type.
inline float load_scale(const std::uint8_t* scales, bool half, std::int64_t index) {
  return half ? half_to_float(load_u16(scales + 2 * index)) : load_as<float>(scales + 4 * index);
}

/// Code number `index` of the `count` codes of a run; stored as code + 2^(bits-1).
inline std::int8_t load_code(const std::uint8_t* run, int bits, std::int64_t index,
                             std::int64_t count) {
  if (bits == 8) return static_cast<std::int8_t>(run[index] - 128);
  const CodePlace place = nibble_place(index, count);
  return static_cast<std::int8_t>(((run[place.byte] >> place.shift) & 15) - 8);
}

/// Writes it; in 4 bits the two codes of a byte may come in any order.
inline void store_code(std::uint8_t* run, int bits, std::int64_t index, std::int64_t count,
                       std::int8_t code) {
  if (bits == 8) {
    run[index] = static_cast<std::uint8_t>(code + 128);
    return;
  }
  const CodePlace place = nibble_place(index, count);
  std::uint8_t& byte = run[place.byte];
  byte = static_cast<std::uint8_t>((byte & (0xF0 >> place.shift)) | (code + 8) << place.shift);
}

}  // namespace edgecompress
