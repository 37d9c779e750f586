#include "weights/code_packing.h"

#include <algorithm>
#include <cstddef>

#include "base/error.h"

namespace edgecompress {
namespace {

void check_sizes(std::size_t count, int bits, std::size_t bytes) {
  ensure(bits == 4 || bits == 8, "codes of 4 or 8 bits");
  ensure(
      bytes == static_cast<std::size_t>(packed_row_bytes(static_cast<std::int64_t>(count), bits)),
      "a packed row as long as packed_row_bytes says");
}

}  // namespace

// A little-endian word filled from its low end is the same bytes as codes laid one after another,
// so no word is built.
void pack_codes(std::span<const std::int8_t> codes, int bits, std::span<std::byte> out) {
  check_sizes(codes.size(), bits, out.size());
  std::fill(out.begin(), out.end(), std::byte{0});
  if (bits == 8) {
    for (std::size_t i = 0; i < codes.size(); ++i) out[i] = static_cast<std::byte>(codes[i] + 128);
    return;
  }
  const auto nibble = [](std::int8_t code) { return static_cast<unsigned>(code + 8) & 0xFU; };
  const std::int8_t* const code = codes.data();
  std::byte* const pair = out.data();
  const std::size_t pairs = codes.size() / 2;
  for (std::size_t i = 0; i < pairs; ++i) {
    pair[i] = static_cast<std::byte>(nibble(code[2 * i]) | nibble(code[2 * i + 1]) << 4);
  }
  if (codes.size() % 2 == 1) out[pairs] = static_cast<std::byte>(nibble(codes.back()));
}

void unpack_codes(std::span<const std::byte> packed, int bits, std::span<std::int8_t> codes) {
  check_sizes(codes.size(), bits, packed.size());
  if (bits == 8) {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<std::int8_t>(static_cast<int>(packed[i]) - 128);
    }
    return;
  }
  const auto low = [](std::byte pair) {
    return static_cast<std::int8_t>((static_cast<int>(pair) & 0xF) - 8);
  };
  const std::byte* const pair = packed.data();
  std::int8_t* const code = codes.data();
  const std::size_t pairs = codes.size() / 2;
  for (std::size_t i = 0; i < pairs; ++i) {
    code[2 * i] = low(pair[i]);
    code[2 * i + 1] = static_cast<std::int8_t>((static_cast<int>(pair[i]) >> 4) - 8);
  }
  if (codes.size() % 2 == 1) codes.back() = low(packed[pairs]);
}

}  // namespace edgecompress
