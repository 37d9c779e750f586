#pragma once

#include <bit>
#include <cstdint>

#include "panel_sparse/code_layout.h"
#include "panel_sparse/panel_sparse_view.h"

namespace edgecompress {

/// Of all bitmaps of a panel.
inline std::int64_t panel_bitmap_bytes(const PanelSparseView& view) {
  return view.groups * (panel_rows(view.form) / view.form.shared_rows) * view.bitmap_bytes;
}

inline bool bit_of(const std::uint8_t* bitmap, std::int64_t bit) {
  return ((bitmap[bit / 8] >> (bit % 8)) & 1) != 0;
}

/// Bits of `bitmap` from `first` on; first and count are multiples of 8.
inline std::int64_t count_bits(const std::uint8_t* bitmap, std::int64_t first, std::int64_t count) {
  std::int64_t set = 0;
  for (std::int64_t byte = first / 8; byte < (first + count) / 8; ++byte) {
    set += std::popcount(bitmap[byte]);
  }
  return set;
}

/// One run of codes: those of `stored` columns among the columns from `first_column` of the matrix
/// on, for the `shared_rows` rows from `first_row` on.
struct Run {
  std::int64_t first_row;
  std::int64_t first_column;
  const std::uint8_t* bitmap;  ///< of the group
  std::int64_t first_bit;
  std::int64_t stored;
};

/// Visits the runs of a panel in the order of their codes: by group, by 64 columns, by row.
template <typename Visit>
void for_each_run(const PanelSparseView& view, std::int64_t panel,
                  const std::uint8_t* panel_bitmaps, Visit&& visit) {
  const PanelSparseForm& form = view.form;
  const int bitmaps = panel_rows(form) / form.shared_rows;
  const int columns = run_columns(form);
  for (std::int64_t group = 0; group < view.groups; ++group) {
    for (int first = 0; first < form.group; first += columns) {
      for (int which = 0; which < bitmaps; ++which) {
        const std::uint8_t* const bitmap =
            panel_bitmaps + (group * bitmaps + which) * view.bitmap_bytes;
        const std::int64_t bit = first / form.column_block;
        visit(Run{
            .first_row = panel * panel_rows(form) + which * form.shared_rows,
            .first_column = group * form.group + first,
            .bitmap = bitmap,
            .first_bit = bit,
            .stored = count_bits(bitmap, bit, columns / form.column_block) * form.column_block});
      }
    }
  }
}

inline const std::uint8_t* bitmaps_of(const PanelSparseView& view, std::int64_t panel) {
  return view.bitmaps + panel * panel_bitmap_bytes(view);
}

/// Calls visit(column of the matrix, its number among the stored ones).
template <typename Visit>
void for_each_stored(const PanelSparseForm& form, const Run& run, Visit&& visit) {
  std::int64_t number = 0;
  for (int inside = 0; inside < run_columns(form); ++inside) {
    if (bit_of(run.bitmap, run.first_bit + inside / form.column_block)) {
      visit(run.first_column + inside, number++);
    }
  }
}

inline std::int64_t scale_index(const PanelSparseView& view, std::int64_t row, std::int64_t group) {
  const std::int64_t height = panel_rows(view.form);
  return (row / height * view.scale_groups + group) * height + row % height;
}

}  // namespace edgecompress
