#include "onnx_export/block_grid.h"

#include <array>

#include "base/checked_math.h"
#include "base/error.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kSmallestBlock = 16;
constexpr std::int64_t kLargestBlock = 256;

bool is_power_of_two(std::int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

BlockGrid grid_of_groups(std::int64_t group_size, std::int64_t columns) {
  return {.columns = columns,
          .block = group_size,
          .blocks = ceil_divide(columns, group_size),
          .blocks_per_group = 1};
}

BlockGrid grid_of_row(int bits, std::int64_t columns) {
  constexpr std::array<std::int64_t, 4> kCandidates{128, 64, 32, 16};
  BlockGrid best;
  std::int64_t fewest_bytes = 0;
  for (const std::int64_t block : kCandidates) {
    const std::int64_t blocks = ceil_divide(columns, block);
    const std::int64_t bytes =
        blocks * (block * bits / 8 + static_cast<std::int64_t>(sizeof(float)));
    if (best.block != 0 && bytes >= fewest_bytes) continue;
    best = {.columns = columns, .block = block, .blocks = blocks, .blocks_per_group = blocks};
    fewest_bytes = bytes;
  }
  return best;
}

}  // namespace

BlockGrid nbits_grid(const QuantScheme& scheme, std::int64_t columns, const std::string& module) {
  if (scheme.group_size == 0) return grid_of_row(scheme.bits, columns);
  if (!is_power_of_two(scheme.group_size) || scheme.group_size < kSmallestBlock ||
      scheme.group_size > kLargestBlock) {
    throw Error(
        ErrorKind::Unsupported, "X1",
        concat("module ", module, " is quantized in groups of ", scheme.group_size,
               ", but MatMulNBits takes powers of two from ", kSmallestBlock, " to ", kLargestBlock,
               "; quantize with such a group_size, or export the standard format"));
  }
  return grid_of_groups(scheme.group_size, columns);
}

BlockGrid dequantize_grid(const QuantScheme& scheme, std::int64_t columns) {
  return scheme.group_size == 0 ? grid_of_row(scheme.bits, columns)
                                : grid_of_groups(scheme.group_size, columns);
}

}  // namespace edgecompress
