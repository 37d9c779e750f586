#include "weights/code_packing.h"

#include <random>
#include <stdexcept>
#include <vector>

#include "support/catch.h"

namespace edgecompress {
namespace {

std::vector<int> bytes_of(std::span<const std::byte> packed) {
  std::vector<int> out;
  for (const std::byte byte : packed) out.push_back(static_cast<int>(byte));
  return out;
}

TEST_CASE("four bits fill a word from its low end, offset by 8", "[weights][golden]") {
  // pack_to_int32 of compressed-tensors 0.20: [-8, -7, 7, 0, 1, -1, 3] gives the one word
  // 0x0B798F10
  const std::vector<std::int8_t> codes{-8, -7, 7, 0, 1, -1, 3};
  std::vector<std::byte> packed(4, std::byte{0xEE});
  pack_codes(codes, 4, packed);
  CHECK(bytes_of(packed) == std::vector<int>{0x10, 0x8F, 0x79, 0x0B});
}

TEST_CASE("eight bits are offset by 128, the last word padded with 0", "[weights][golden]") {
  // pack_to_int32: [-128, 127, 0, 5, -3] gives the words 0x8580FF00, 0x0000007D
  const std::vector<std::int8_t> codes{-128, 127, 0, 5, -3};
  std::vector<std::byte> packed(8, std::byte{0xEE});
  pack_codes(codes, 8, packed);
  CHECK(bytes_of(packed) == std::vector<int>{0x00, 0xFF, 0x80, 0x85, 0x7D, 0, 0, 0});
}

TEST_CASE("unpacking is the inverse of packing for any length", "[weights][property]") {
  const int bits = GENERATE(4, 8);
  std::mt19937 generator(11);
  for (std::size_t count = 0; count <= 70; ++count) {
    std::vector<std::int8_t> codes(count);
    for (std::int8_t& code : codes) {
      code = static_cast<std::int8_t>(static_cast<int>(generator() % (1U << bits)) -
                                      (1 << (bits - 1)));
    }
    std::vector<std::byte> packed(
        static_cast<std::size_t>(packed_row_bytes(static_cast<std::int64_t>(count), bits)));
    pack_codes(codes, bits, packed);
    std::vector<std::int8_t> back(count, 99);
    unpack_codes(packed, bits, back);
    CHECK(back == codes);
  }
}

TEST_CASE("a packed row is whole words", "[weights]") {
  CHECK(packed_row_bytes(0, 4) == 0);
  CHECK(packed_row_bytes(1, 4) == 4);
  CHECK(packed_row_bytes(8, 4) == 4);
  CHECK(packed_row_bytes(9, 4) == 8);
  CHECK(packed_row_bytes(4, 8) == 4);
  CHECK(packed_row_bytes(5, 8) == 8);
}

TEST_CASE("a row of the wrong length is a bug of the caller", "[weights]") {
  const std::vector<std::int8_t> codes(9);
  std::vector<std::byte> packed(4);
  CHECK_THROWS_AS(pack_codes(codes, 4, packed), std::logic_error);
  CHECK_THROWS_AS(pack_codes(codes, 5, packed), std::logic_error);
}

}  // namespace
}  // namespace edgecompress
