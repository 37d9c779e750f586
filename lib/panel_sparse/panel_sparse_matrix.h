#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "panel_sparse/panel_sparse_view.h"

namespace edgecompress {

/// Dense content of such a matrix.
struct DenseCodes {
  std::vector<std::int8_t> codes;  ///< [rows, columns]
  std::vector<float> scales;       ///< [rows, scale_groups]
  std::vector<std::uint8_t> keep;  ///< [rows, columns], 1 = stored
};

/// Checks a blob from outside completely, so that no kernel can read beyond it.
/// Throws Error{Unsupported} for a version or form this program does not know, by name;
/// Error{Malformed} for any lie. Cost: reads the bitmaps, the scales and the starts once.
PanelSparseView open_panel_sparse(std::span<const std::uint8_t> blob);

/// Packs a matrix.
/// codes:   [rows, columns] in the range of form.bits. Where keep is 0 the code counts as 0.
/// scales:  [rows, scale_groups], finite; rounded to fp16 when the form says so.
/// keep:    [rows, columns]; a column is stored in a panel when any of its weights there is kept.
/// Throws   Error{Unsupported} when the form is not one of the above, when a code is out of range,
/// or a scale does not fit.
std::vector<std::uint8_t> pack_panel_sparse(const PanelSparseForm& form, std::int64_t rows,
                                            std::int64_t columns,
                                            std::span<const std::int8_t> codes,
                                            std::span<const float> scales,
                                            std::span<const std::uint8_t> keep);

// The same in pieces, so that a matrix need not be in memory whole. A piece is some neighbouring
// rows; all but the last must be whole panels. A blob is pack_front() of all pieces' indexes one
// behind the other, the codes of all pieces one behind the other, and kPanelSparseSlack zeros.

/// What the kept weights of a piece take in a form.
struct PanelSparseSize {
  std::int64_t stored_weights = 0;  ///< of the matrix: kept ones and zeros that share their columns
  std::int64_t code_bytes = 0;
};
PanelSparseSize panel_sparse_size(const PanelSparseForm& form, std::int64_t rows,
                                  std::int64_t columns, std::span<const std::uint8_t> keep);
/// Bytes of a whole blob.
std::int64_t panel_sparse_bytes(const PanelSparseForm& form, std::int64_t rows,
                                std::int64_t columns, std::int64_t code_bytes);

/// Parts 3 and 4 of a blob for some panels, and how many bytes of codes each panel has.
struct PanelSparseIndex {
  std::vector<std::uint8_t> bitmaps;
  std::vector<std::uint8_t> scales;
  std::vector<std::int64_t> panel_code_bytes;
};
PanelSparseIndex pack_index(const PanelSparseForm& form, std::int64_t rows, std::int64_t columns,
                            std::span<const float> scales, std::span<const std::uint8_t> keep);
/// The codes of a piece, part 5.
std::vector<std::uint8_t> pack_codes(const PanelSparseForm& form, std::int64_t rows,
                                     std::int64_t columns, std::span<const std::int8_t> codes,
                                     std::span<const std::uint8_t> keep);
/// Everything before the codes, of the whole matrix.
std::vector<std::uint8_t> pack_front(const PanelSparseForm& form, std::int64_t rows,
                                     std::int64_t columns, const PanelSparseIndex& index);

DenseCodes unpack_panel_sparse(const PanelSparseView& matrix);

}  // namespace edgecompress
