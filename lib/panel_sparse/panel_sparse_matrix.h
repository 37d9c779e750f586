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

DenseCodes unpack_panel_sparse(const PanelSparseView& matrix);

}  // namespace edgecompress
