#pragma once

#include <cstdint>
#include <string>

#include "llama/model_folder.h"
#include "weights/quant_scheme.h"

namespace edgecompress {

/// How ONNX operators see a row of codes: in blocks of one length, each with a scale.
struct BlockGrid {
  std::int64_t columns = 0;
  std::int64_t block = 0;
  std::int64_t blocks = 0;  ///< per row, the last one possibly short
  std::int64_t blocks_per_group =
      1;  ///< blocks that carry the scale of one group of the checkpoint

  std::int64_t group_of(std::int64_t block_index) const { return block_index / blocks_per_group; }
};

/// The grid of MatMulNBits, whose blocks are powers of two from 16 to 256.
///
/// A group of such a size is a block. A row with one scale is cut into blocks that repeat it: of
/// 128, 64, 32 and 16 the one that stores the row in the fewest bytes (codes of padded blocks and
/// scales), the larger of two equal ones. So 128 wherever it divides in_features; not more, because
/// at accuracy level 4 a block's activations share a scale too. Throws Error{Unsupported} X1 naming
/// `module` for any other group size.
BlockGrid nbits_grid(const QuantScheme& scheme, std::int64_t columns, const std::string& module);

/// The grid of DequantizeLinear, which takes any group size; one scale per row as above.
BlockGrid dequantize_grid(const QuantScheme& scheme, std::int64_t columns);

}  // namespace edgecompress
