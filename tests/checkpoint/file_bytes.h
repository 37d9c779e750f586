#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace edgecompress {

/// `length` in 8 little-endian bytes, as a safetensors file starts.
inline std::string length_bytes(std::uint64_t length) {
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(length >> (8 * i) & 0xFF);
  return out;
}

/// Bytes that differ from position to position; the same for the same seed.
inline std::string random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::string out(count, '\0');
  for (char& c : out) c = static_cast<char>(generator() & 0xFF);
  return out;
}

inline std::string file_of(std::string_view header, std::size_t data_bytes, unsigned seed = 7) {
  return length_bytes(header.size()) + std::string(header) + random_bytes(data_bytes, seed);
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace edgecompress
