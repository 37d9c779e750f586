#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace edgecompress {

/// Bytes of a packed row of `count` codes: 32-bit words of 32 / bits codes, the last one padded.
constexpr std::int64_t packed_row_bytes(std::int64_t count, int bits) {
  return (count * bits + 31) / 32 * 4;
}

/// Packs signed codes as compressed-tensors' pack-quantized format does: each code becomes unsigned
/// by adding 2^(bits-1), and 32 / bits of them fill a little-endian 32-bit word from its low end.
/// Padding codes are 0 (unsigned). codes: [count], within the grid of `bits` (4 or 8); out:
/// packed_row_bytes(count, bits) bytes. Byte for byte this is also a row of ONNX Runtime's
/// MatMulNBits when count is a multiple of the block size.
void pack_codes(std::span<const std::int8_t> codes, int bits, std::span<std::byte> out);

/// The inverse of pack_codes for the first codes.size() codes.
void unpack_codes(std::span<const std::byte> packed, int bits, std::span<std::int8_t> codes);

}  // namespace edgecompress
