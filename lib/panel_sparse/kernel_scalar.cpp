#include <algorithm>
#include <bit>
#include <cmath>

#include "panel_sparse/code_layout.h"
#include "panel_sparse/exact_group.h"
#include "panel_sparse/kernels.h"
#include "panel_sparse/little_endian.h"

namespace edgecompress {
namespace {

constexpr int kMaxRows = 16;

/// Integer sums of one group of a panel for one token, by row.
struct GroupSums {
  std::int32_t of[kMaxRows] = {};
};

/// Columns of one run, numbered in their group.
struct StoredColumns {
  int column[256] = {};
  int count = 0;
};

StoredColumns stored_columns(const PanelSparseForm& form, const std::uint8_t* bitmap, int first) {
  StoredColumns stored;
  for (int column = first; column < first + run_columns(form); ++column) {
    const int bit = column / form.column_block;
    if (((bitmap[bit / 8] >> (bit % 8)) & 1) != 0) stored.column[stored.count++] = column;
  }
  return stored;
}

GroupSums sum_group(const PanelSparseView& matrix, const std::uint8_t* bitmaps,
                    const std::uint8_t*& codes, const std::int8_t* inputs) {
  const PanelSparseForm& form = matrix.form;
  GroupSums sums;
  for (int first = 0; first < form.group; first += run_columns(form)) {
    for (int set = 0; set < panel_rows(form) / form.shared_rows; ++set) {
      const StoredColumns stored = stored_columns(form, bitmaps + set * matrix.bitmap_bytes, first);
      const std::int64_t held = run_codes(form, stored.count);
      for (int k = 0; k < stored.count; ++k) {
        const int column = stored.column[k];
        for (int row = 0; row < form.shared_rows; ++row) {
          sums.of[set * form.shared_rows + row] +=
              load_code(codes, form.bits, code_index(form, row, k), held) * inputs[column];
        }
      }
      codes += bytes_of_codes(form.bits, held);
    }
  }
  return sums;
}

void multiply_panel(const PanelSparseView& matrix, const QuantizedInputs& inputs,
                    std::int64_t panel, std::int64_t token, float* y) {
  const PanelSparseForm& form = matrix.form;
  const bool half = form.scale_type == ScaleType::Float16;
  const int height = panel_rows(form);
  const std::int64_t group_bitmaps = height / form.shared_rows * matrix.bitmap_bytes;
  const std::uint8_t* codes = matrix.codes + load_u64(matrix.starts + 8 * panel);
  float totals[kMaxRows] = {};
  for (std::int64_t group = 0; group < matrix.groups; ++group) {
    const GroupSums sums =
        sum_group(matrix, matrix.bitmaps + (panel * matrix.groups + group) * group_bitmaps, codes,
                  inputs.codes + token * inputs.stride + group * form.group);
    const std::int64_t first_scale =
        (panel * matrix.scale_groups + group / form.groups_per_scale) * height;
    const float input_scale = inputs.scales[token * matrix.groups + group];
    for (int row = 0; row < height; ++row) {
      const float factor = load_scale(matrix.scales, half, first_scale + row) * input_scale;
      totals[row] = std::fma(static_cast<float>(sums.of[row]), factor, totals[row]);
    }
  }
  for (int row = 0; row < height && panel * height + row < matrix.rows; ++row) {
    y[token * matrix.rows + panel * height + row] = totals[row];
  }
}

void multiply(const PanelSparseView& matrix, const QuantizedInputs& inputs,
              std::int64_t first_panel, std::int64_t last_panel, float* y,
              std::uint8_t* /*scratch*/) {
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
    for (std::int64_t token = 0; token < inputs.tokens; ++token) {
      multiply_panel(matrix, inputs, panel, token, y);
    }
  }
}

float quantize_group(const float* x, std::int64_t count, std::int64_t padded, std::int8_t* codes) {
  std::uint32_t largest =
      0;  // as bits, which order like the values and put infinity and NaN on top
  for (std::int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFU);
  }
  const float magnitude = std::bit_cast<float>(largest);
  std::fill_n(codes, padded, std::int8_t{0});
  if (!std::isfinite(magnitude)) return std::nanf("");
  if (magnitude < 0x1p-100F) return 0;  // 127 / magnitude must stay finite
  const float factor = 127.0F / magnitude;
  for (std::int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::int8_t>(std::nearbyint(x[i] * factor));
  }
  return magnitude / 127.0F;
}

}  // namespace

KernelSet scalar_kernels() { return {multiply, quantize_group, add_exact_group}; }

}  // namespace edgecompress
