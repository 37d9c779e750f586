#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "llama/model_folder.h"
#include "onnx_export/block_grid.h"
#include "onnx_export/graph_builder.h"

namespace edgecompress {

/// Matrices of equal width and storage, one below the other: one module, or q, k and v packed into
/// one product. rows = out_features, columns = in_features. The ModelFolder they come from must
/// outlive every source made of them.
struct StackedMatrix {
  std::vector<std::string> modules;
  std::vector<StoredMatrix> parts;

  std::int64_t rows() const;
  std::int64_t columns() const { return matrix_shape(parts.front()).in_features; }
  bool is_quantized() const { return std::holds_alternative<StoredQuantizedMatrix>(parts.front()); }
  const QuantScheme& scheme() const {
    return std::get<StoredQuantizedMatrix>(parts.front()).scheme;
  }
};

/// Codes and scales of neighbouring rows of a quantized matrix, across the borders of its parts.
struct StackedRows {
  std::vector<std::int8_t> codes;  ///< [rows, columns]
  std::vector<float> scales;       ///< [rows, groups of the checkpoint]
};
StackedRows read_stacked_rows(const StackedMatrix& matrix, std::int64_t begin, std::int64_t end);

// Every source below reads a few rows or columns at a time, on num_threads threads, and gives the
// same bytes for any number of them.

ByteSource vector_floats(std::vector<float> values);
/// [rows, columns], F32.
ByteSource row_floats(StackedMatrix matrix, int num_threads);

/// MatMulNBits' B, [rows, blocks, block * bits / 8], U8: codes made unsigned by adding 2^(bits-1),
/// 4-bit ones two to a byte, low half first; the missing columns of a last block hold its zero
/// point, which is a weight of 0.
ByteSource nbits_codes(StackedMatrix matrix, BlockGrid grid, int num_threads);
/// [rows, blocks], F32.
ByteSource nbits_scales(StackedMatrix matrix, BlockGrid grid, int num_threads);
/// [rows, ceil(blocks * bits / 8)], U8, packed as the codes.
ByteSource nbits_zero_points(StackedMatrix matrix, BlockGrid grid, int num_threads);

/// Signed codes, one to a byte, [rows, columns], I8; their scales F32 and zero points I8, [rows,
/// groups].
ByteSource row_codes(StackedMatrix matrix, int num_threads);
ByteSource group_scales(StackedMatrix matrix, int num_threads);
ByteSource group_zero_points(StackedMatrix matrix, int num_threads);

/// [columns, rows], F32.
ByteSource transposed_floats(StackedMatrix matrix, int num_threads);
/// [columns, rows], INT4 (two to a byte, low half first) or I8.
ByteSource transposed_codes(StackedMatrix matrix, int num_threads);
/// [blocks, rows], F32.
ByteSource transposed_scales(StackedMatrix matrix, BlockGrid grid, int num_threads);
/// [blocks, rows], INT4 or I8.
ByteSource transposed_zero_points(StackedMatrix matrix, BlockGrid grid, int num_threads);

}  // namespace edgecompress
