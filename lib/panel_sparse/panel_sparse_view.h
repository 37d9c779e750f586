#pragma once

#include <cstddef>
#include <cstdint>

namespace edgecompress {

enum class ScaleType : std::uint8_t { Float32 = 0, Float16 = 1 };

/// The form of a sparse integer matrix, as its header says (docs/sparse-format.md).
///
/// Rows are cut into panels, columns into groups of `group`. In each group of a panel,
/// `shared_rows` rows share one list of stored columns: a bitmap with one bit per `column_block`
/// columns. The codes of stored columns lie side by side. shared_rows 1 is unstructured sparsity;
/// its panels hold four rows with a bitmap each.
struct PanelSparseForm {
  int bits = 8;          ///< of a code: 4 or 8; stored as code + 2^(bits-1)
  int shared_rows = 16;  ///< 16, 8, 4 or 1
  int column_block = 1;  ///< 1; with shared_rows 16 also 4
  int group = 128;       ///< columns per bitmap and per activation scale: 32, 64, 128 or 256
  /// Groups that share one scale per row; at least as many as there are groups: one scale per row.
  std::int64_t groups_per_scale = 1;
  ScaleType scale_type = ScaleType::Float32;
};

/// Rows of a panel.
inline int panel_rows(const PanelSparseForm& form) {
  return form.shared_rows == 1 ? 4 : form.shared_rows;
}

/// A sparse matrix in the bytes of a file; real weight = scale * code. Made only by
/// open_panel_sparse, which has checked that every offset lies inside. The bytes must outlive it.
/// All members are little-endian and need no alignment.
struct PanelSparseView {
  PanelSparseForm form;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t panels = 0;               ///< ceil(rows / panel_rows)
  std::int64_t groups = 0;               ///< ceil(columns / group)
  std::int64_t scale_groups = 0;         ///< ceil(groups / groups_per_scale)
  std::int64_t bitmap_bytes = 0;         ///< of one bitmap
  const std::uint8_t* starts = nullptr;  ///< u64 [panels + 1], byte offsets into codes
  const std::uint8_t* bitmaps =
      nullptr;  ///< [panels, groups, panel_rows / shared_rows, bitmap_bytes]
  const std::uint8_t* scales = nullptr;  ///< [panels, scale_groups, panel_rows]
  const std::uint8_t* codes = nullptr;
};

/// Bytes that kernels may read behind the last code; every blob ends in them.
inline constexpr std::size_t kPanelSparseSlack = 64;

}  // namespace edgecompress
