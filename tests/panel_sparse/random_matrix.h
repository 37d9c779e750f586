#pragma once

#include <cstdint>
#include <ostream>
#include <random>
#include <vector>

#include "panel_sparse/code_layout.h"
#include "panel_sparse/panel_sparse_matrix.h"

namespace edgecompress {

/// A dense matrix whose kept weights follow the form's blocks.
struct RandomMatrix {
  PanelSparseForm form;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  DenseCodes dense;

  std::vector<std::uint8_t> pack() const {
    return pack_panel_sparse(form, rows, columns, dense.codes, dense.scales, dense.keep);
  }
};

inline RandomMatrix random_matrix(const PanelSparseForm& form, std::int64_t rows,
                                  std::int64_t columns, double density, std::uint32_t seed) {
  std::mt19937 random(seed);
  const int top = 1 << (form.bits - 1);
  std::uniform_int_distribution<int> code(-top, top - 1);
  std::uniform_real_distribution<double> share(0, 1);
  const std::int64_t groups = (columns + form.group - 1) / form.group;
  const std::int64_t per_scale = std::min(form.groups_per_scale, groups);
  const std::int64_t scale_groups = (groups + per_scale - 1) / per_scale;
  RandomMatrix matrix{.form = form, .rows = rows, .columns = columns, .dense = {}};
  const auto weights = static_cast<std::size_t>(rows * columns);
  matrix.dense.codes.resize(weights);
  matrix.dense.keep.resize(weights);
  for (std::int64_t row = 0; row < rows; row += form.shared_rows) {
    for (std::int64_t column = 0; column < columns; column += form.column_block) {
      if (share(random) >= density) continue;
      for (std::int64_t r = row; r < std::min(rows, row + form.shared_rows); ++r) {
        for (std::int64_t c = column; c < std::min(columns, column + form.column_block); ++c) {
          const auto at = static_cast<std::size_t>(r * columns + c);
          matrix.dense.keep[at] = 1;
          matrix.dense.codes[at] = static_cast<std::int8_t>(code(random));
        }
      }
    }
  }
  for (std::int64_t i = 0; i < rows * scale_groups; ++i) {
    // Eleven significant bits, so that binary16 holds the scale exactly.
    matrix.dense.scales.push_back(static_cast<float>(1024 + code(random) + i % 7) * 0x1p-18F);
  }
  return matrix;
}

/// Every form there is, with one scale per group; the other choices vary with the form.
inline std::vector<PanelSparseForm> all_forms() {
  std::vector<PanelSparseForm> forms;
  for (const int bits : {4, 8}) {
    for (const int shared_rows : {16, 8, 4, 1}) {
      for (const int group : {32, 64, 128, 256}) {
        for (const int column_block : {1, 4}) {
          if (column_block == 4 && shared_rows != 16) continue;
          forms.push_back({.bits = bits,
                           .shared_rows = shared_rows,
                           .column_block = column_block,
                           .group = group,
                           .groups_per_scale = group == 64   ? 1000
                                               : group == 32 ? 2
                                                             : 1,
                           .scale_type = shared_rows == 8 || group == 128 ? ScaleType::Float16
                                                                          : ScaleType::Float32});
        }
      }
    }
  }
  return forms;
}

inline std::ostream& operator<<(std::ostream& out, const PanelSparseForm& form) {
  return out << form.bits << " bits, " << form.shared_rows << "x" << form.column_block << ", group "
             << form.group << ", " << form.groups_per_scale << " groups per scale, scale type "
             << static_cast<int>(form.scale_type);
}

}  // namespace edgecompress
