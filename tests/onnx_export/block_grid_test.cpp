#include "onnx_export/block_grid.h"

#include "base/error.h"
#include "contains.h"
#include "support/catch.h"

using namespace edgecompress;

TEST_CASE("a group of the checkpoint is a block of MatMulNBits", "[onnx_export]") {
  const std::int64_t group = GENERATE(16, 32, 64, 128, 256);
  const BlockGrid grid = nbits_grid({.bits = 4, .group_size = group}, 300, "m");
  CHECK(grid.block == group);
  CHECK(grid.blocks == (300 + group - 1) / group);
  CHECK(grid.group_of(1) == 1);
}

TEST_CASE("a row with one scale is cut into the blocks that store it in the fewest bytes",
          "[onnx_export]") {
  struct Case {
    int bits;
    std::int64_t columns;
    std::int64_t block;
    std::int64_t blocks;
  };
  // Bytes of a row with 128 | 64 | 32 | 16, counted by hand: codes of whole blocks and 4 bytes a
  // scale.
  const Case cases[] = {
      {8, 4096, 128, 32},  // 128 divides: 4224, every smaller block adds scales
      {8, 192, 64, 3},     // 264 | 204 | 216 | 240
      {8, 172, 64, 3},     // 264 | 204 | 216 | 220
      {4, 172, 64, 3},     // 136 | 108 | 120 | 132
      {8, 130, 32, 5},     // 264 | 204 | 180 | 180: of two equal ones the larger
  };
  for (const Case& c : cases) {
    const BlockGrid grid = nbits_grid({.bits = c.bits}, c.columns, "m");
    CAPTURE(c.bits, c.columns);
    CHECK(grid.block == c.block);
    CHECK(grid.blocks == c.blocks);
    CHECK(grid.group_of(grid.blocks - 1) == 0);
  }
}

TEST_CASE("a group size that is no power of two from 16 to 256 is refused with the module's name",
          "[onnx_export]") {
  const std::int64_t group = GENERATE(1, 8, 24, 96, 512);
  try {
    nbits_grid({.bits = 4, .group_size = group}, 1024, "model.layers.3.mlp.up_proj");
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Unsupported);
    CHECK(error.code() == "X1");
    CHECK(contains(error.what(), "model.layers.3.mlp.up_proj"));
    CHECK(contains(error.what(), std::to_string(group)));
  }
}

TEST_CASE("DequantizeLinear takes any group size", "[onnx_export]") {
  const BlockGrid grid = dequantize_grid({.bits = 8, .group_size = 24}, 100);
  CHECK(grid.block == 24);
  CHECK(grid.blocks == 5);
}
