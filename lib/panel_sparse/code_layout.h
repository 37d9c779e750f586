#pragma once

#include <cstdint>

#include "panel_sparse/panel_sparse_view.h"

namespace edgecompress {

/// Columns whose stored codes lie in one piece: a group, and at most 64 columns of it when
/// shared_rows is 1.
inline int run_columns(const PanelSparseForm& form) {
  return form.shared_rows == 1 && form.group > 64 ? 64 : form.group;
}

/// Codes held for a run with `stored` columns: shared columns are padded to a multiple of four.
inline std::int64_t run_codes(const PanelSparseForm& form, std::int64_t stored) {
  return form.shared_rows == 1 ? stored : (stored + 3) / 4 * 4 * form.shared_rows;
}

/// Bytes of that many codes; 4-bit codes end at a whole byte.
inline std::int64_t bytes_of_codes(int bits, std::int64_t codes) {
  return bits == 8 ? codes : (codes + 1) / 2;
}

/// Number, among the codes of a run, of the code of row `row` (in its panel) and the `column`-th
/// stored column; the run of an unstructured row holds that row alone.
inline std::int64_t code_index(const PanelSparseForm& form, std::int64_t row, std::int64_t column) {
  return form.shared_rows == 1 ? column : (column / 4 * form.shared_rows + row) * 4 + column % 4;
}

struct CodePlace {
  std::int64_t byte;
  int shift;
};

/// Where 4-bit code number `index` of `count` lies in its run: whole pieces of 128 codes hold codes
/// 0 ... 63 in the low and 64 ... 127 in the high halves of 64 bytes; the rest holds two neighbours
/// in a byte, the first in the low half.
inline CodePlace nibble_place(std::int64_t index, std::int64_t count) {
  const std::int64_t whole = count / 128 * 128;
  if (index >= whole) return {index / 2, static_cast<int>(index % 2) * 4};
  return {index / 128 * 64 + index % 64, index % 128 < 64 ? 0 : 4};
}

}  // namespace edgecompress
