#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked_math.h"
#include "base/error.h"
#include "panel_sparse/layout.h"
#include "panel_sparse/little_endian.h"
#include "panel_sparse/panel_sparse_matrix.h"
#include "panel_sparse/runs.h"

namespace edgecompress {
namespace {

void write_header(std::uint8_t* out, const Header& header) {
  std::memcpy(out, kMagic.data(), kMagic.size());
  store_u32(out + 8, kVersion);
  out[12] = static_cast<std::uint8_t>(header.form.bits);
  out[13] = static_cast<std::uint8_t>(header.form.shared_rows);
  out[14] = static_cast<std::uint8_t>(header.form.column_block);
  out[15] = static_cast<std::uint8_t>(header.form.scale_type);
  store_u64(out + 16, static_cast<std::uint64_t>(header.rows));
  store_u64(out + 24, static_cast<std::uint64_t>(header.columns));
  store_u32(out + 32, static_cast<std::uint32_t>(header.form.group));
  store_u32(out + 36, static_cast<std::uint32_t>(header.form.groups_per_scale));
  store_u64(out + 40, header.code_bytes);
}

/// The dense matrix a packer reads, with zero outside.
struct Source {
  const PanelSparseView& view;
  std::span<const std::int8_t> codes;
  std::span<const std::uint8_t> keep;

  std::int8_t code(std::int64_t row, std::int64_t column) const {
    if (row >= view.rows || column >= view.columns) return 0;
    const auto at = static_cast<std::size_t>(row * view.columns + column);
    return keep[at] != 0 ? codes[at] : std::int8_t{0};
  }
  bool any_kept(std::int64_t first_row, std::int64_t first_column) const {
    const PanelSparseForm& form = view.form;
    for (std::int64_t row = first_row; row < std::min(view.rows, first_row + form.shared_rows);
         ++row) {
      for (std::int64_t column = first_column;
           column < std::min(view.columns, first_column + form.column_block); ++column) {
        if (keep[static_cast<std::size_t>(row * view.columns + column)] != 0) return true;
      }
    }
    return false;
  }
};

void fill_bitmaps(const Source& source, std::int64_t panel, std::uint8_t* bitmaps) {
  const PanelSparseView& view = source.view;
  const PanelSparseForm& form = view.form;
  const std::int64_t sets = panel_rows(form) / form.shared_rows;
  for (std::int64_t column = 0; column < view.columns; column += form.column_block) {
    const std::int64_t bit = column % form.group / form.column_block;
    for (std::int64_t which = 0; which < sets; ++which) {
      if (!source.any_kept(panel * panel_rows(form) + which * form.shared_rows, column)) continue;
      std::uint8_t* const bitmap =
          bitmaps + (column / form.group * sets + which) * view.bitmap_bytes;
      bitmap[bit / 8] |= static_cast<std::uint8_t>(1 << (bit % 8));
    }
  }
}

void append_run(const Source& source, const Run& run, std::vector<std::uint8_t>& out) {
  const PanelSparseForm& form = source.view.form;
  const std::int64_t count = run_codes(form, run.stored);
  const std::size_t begin = out.size();
  out.resize(begin + static_cast<std::size_t>(bytes_of_codes(form.bits, count)));
  for (std::int64_t index = 0; index < count;
       ++index) {  // codes that only fill up a quad are 0 too
    store_code(out.data() + begin, form.bits, index, count, 0);
  }
  for_each_stored(form, run, [&](std::int64_t column, std::int64_t number) {
    for (std::int64_t row = 0; row < form.shared_rows; ++row) {
      store_code(out.data() + begin, form.bits, code_index(form, row, number), count,
                 source.code(run.first_row + row, column));
    }
  });
}

void check_codes(const PanelSparseView& view, std::span<const std::int8_t> codes,
                 std::span<const std::uint8_t> keep) {
  const auto weights = static_cast<std::size_t>(view.rows * view.columns);
  ensure(codes.size() == weights && keep.size() == weights, "codes and keep [rows, columns]");
  if (view.form.bits == 8) return;
  const auto wide = std::find_if(codes.begin(), codes.end(),
                                 [](std::int8_t code) { return code < -8 || code > 7; });
  if (wide != codes.end())
    sparse_unsupported(concat("code ", int{*wide}, " does not fit in 4 bits"));
}

void pack_scales(const PanelSparseView& view, std::span<const float> scales, std::uint8_t* out) {
  const bool half = view.form.scale_type == ScaleType::Float16;
  for (std::int64_t row = 0; row < view.rows; ++row) {
    for (std::int64_t group = 0; group < view.scale_groups; ++group) {
      const float scale = scales[static_cast<std::size_t>(row * view.scale_groups + group)];
      const std::int64_t at = scale_index(view, row, group);
      if (half) {
        store_u16(out + 2 * at, float_to_half(scale));
      } else {
        store_u32(out + 4 * at, std::bit_cast<std::uint32_t>(scale));
      }
      if (!std::isfinite(load_scale(out, half, at))) {
        sparse_unsupported(
            concat("the scale ", scale, " of row ", row, " is not finite in the scale type"));
      }
    }
  }
}

/// A view of the extents a packer works with.
PanelSparseView packed_view(const PanelSparseForm& form, std::int64_t rows, std::int64_t columns) {
  PanelSparseView view = sized_view(form, rows, columns);
  view.form.groups_per_scale = std::min(form.groups_per_scale, view.groups);
  return view;
}

void append_padded(std::vector<std::uint8_t>& blob, std::span<const std::uint8_t> part) {
  blob.insert(blob.end(), part.begin(), part.end());
  blob.resize(static_cast<std::size_t>(round_up(std::ssize(blob), kPartAlignment)));
}

}  // namespace

PanelSparseSize panel_sparse_size(const PanelSparseForm& form, std::int64_t rows,
                                  std::int64_t columns, std::span<const std::uint8_t> keep) {
  const PanelSparseView view = packed_view(form, rows, columns);
  ensure(std::ssize(keep) == rows * columns, "keep [rows, columns]");
  const std::int64_t padded = view.groups * form.group;
  std::vector<std::uint8_t> stored(static_cast<std::size_t>(padded));  // by column, of some rows
  PanelSparseSize size{};
  for (std::int64_t first = 0; first < rows; first += form.shared_rows) {
    const std::int64_t height = std::min<std::int64_t>(form.shared_rows, rows - first);
    std::fill(stored.begin(), stored.end(), std::uint8_t{0});
    for (std::int64_t row = first; row < first + height; ++row) {
      const std::uint8_t* const kept = keep.data() + row * columns;
      for (std::int64_t column = 0; column < columns; ++column) {
        stored[static_cast<std::size_t>(column)] |= static_cast<std::uint8_t>(kept[column] != 0);
      }
    }
    for (std::int64_t run = 0; run < padded; run += run_columns(form)) {
      std::int64_t count = 0;
      for (std::int64_t block = run; block < run + run_columns(form); block += form.column_block) {
        const auto begin = stored.begin() + block;
        if (std::find(begin, begin + form.column_block, 1) != begin + form.column_block) {
          count += form.column_block;
          size.stored_weights +=
              std::min<std::int64_t>(form.column_block, columns - block) * height;
        }
      }
      size.code_bytes += bytes_of_codes(form.bits, run_codes(form, count));
    }
  }
  return size;
}

std::int64_t panel_sparse_bytes(const PanelSparseForm& form, std::int64_t rows,
                                std::int64_t columns, std::int64_t code_bytes) {
  return layout_of(packed_view(form, rows, columns)).codes + code_bytes +
         static_cast<std::int64_t>(kPanelSparseSlack);
}

PanelSparseIndex pack_index(const PanelSparseForm& form, std::int64_t rows, std::int64_t columns,
                            std::span<const float> scales, std::span<const std::uint8_t> keep) {
  const PanelSparseView view = packed_view(form, rows, columns);
  ensure(std::ssize(keep) == rows * columns, "keep [rows, columns]");
  ensure(std::ssize(scales) == rows * view.scale_groups, "scales [rows, scale_groups]");
  PanelSparseIndex index;
  index.bitmaps.resize(static_cast<std::size_t>(view.panels * panel_bitmap_bytes(view)));
  index.scales.resize(static_cast<std::size_t>(view.panels * panel_scale_bytes(view)));
  const Source source{.view = view, .codes = {}, .keep = keep};
  for (std::int64_t panel = 0; panel < view.panels; ++panel) {
    std::uint8_t* const bitmaps = index.bitmaps.data() + panel * panel_bitmap_bytes(view);
    fill_bitmaps(source, panel, bitmaps);
    std::int64_t bytes = 0;
    for_each_run(view, panel, bitmaps, [&](const Run& run) {
      bytes += bytes_of_codes(form.bits, run_codes(form, run.stored));
    });
    index.panel_code_bytes.push_back(bytes);
  }
  pack_scales(view, scales, index.scales.data());
  return index;
}

std::vector<std::uint8_t> pack_codes(const PanelSparseForm& form, std::int64_t rows,
                                     std::int64_t columns, std::span<const std::int8_t> codes,
                                     std::span<const std::uint8_t> keep) {
  const PanelSparseView view = packed_view(form, rows, columns);
  check_codes(view, codes, keep);
  std::vector<std::uint8_t> packed;
  std::vector<std::uint8_t> bitmaps;
  const Source source{.view = view, .codes = codes, .keep = keep};
  for (std::int64_t panel = 0; panel < view.panels; ++panel) {
    bitmaps.assign(static_cast<std::size_t>(panel_bitmap_bytes(view)), 0);
    fill_bitmaps(source, panel, bitmaps.data());
    for_each_run(view, panel, bitmaps.data(),
                 [&](const Run& run) { append_run(source, run, packed); });
  }
  return packed;
}

std::vector<std::uint8_t> pack_front(const PanelSparseForm& form, std::int64_t rows,
                                     std::int64_t columns, const PanelSparseIndex& index) {
  const PanelSparseView view = packed_view(form, rows, columns);
  ensure(std::ssize(index.panel_code_bytes) == view.panels, "the index of every panel");
  const Layout at = layout_of(view);
  std::vector<std::uint8_t> front(static_cast<std::size_t>(at.bitmaps));
  std::uint64_t end = 0;
  for (std::int64_t panel = 0; panel < view.panels; ++panel) {
    end += static_cast<std::uint64_t>(index.panel_code_bytes[static_cast<std::size_t>(panel)]);
    store_u64(front.data() + at.starts + 8 * (panel + 1), end);
  }
  write_header(front.data(),
               {.form = view.form, .rows = rows, .columns = columns, .code_bytes = end});
  append_padded(front, index.bitmaps);
  append_padded(front, index.scales);
  return front;
}

std::vector<std::uint8_t> pack_panel_sparse(const PanelSparseForm& form, std::int64_t rows,
                                            std::int64_t columns,
                                            std::span<const std::int8_t> codes,
                                            std::span<const float> scales,
                                            std::span<const std::uint8_t> keep) {
  std::vector<std::uint8_t> blob =
      pack_front(form, rows, columns, pack_index(form, rows, columns, scales, keep));
  const std::vector<std::uint8_t> packed = pack_codes(form, rows, columns, codes, keep);
  blob.insert(blob.end(), packed.begin(), packed.end());
  blob.resize(blob.size() + kPanelSparseSlack);
  return blob;
}

DenseCodes unpack_panel_sparse(const PanelSparseView& view) {
  const PanelSparseForm& form = view.form;
  const auto weights = static_cast<std::size_t>(view.rows * view.columns);
  DenseCodes dense{
      .codes = std::vector<std::int8_t>(weights),
      .scales = std::vector<float>(static_cast<std::size_t>(view.rows * view.scale_groups)),
      .keep = std::vector<std::uint8_t>(weights)};
  for (std::int64_t panel = 0; panel < view.panels; ++panel) {
    const std::uint8_t* codes = view.codes + load_u64(view.starts + 8 * panel);
    for_each_run(view, panel, bitmaps_of(view, panel), [&](const Run& run) {
      const std::int64_t count = run_codes(form, run.stored);
      for_each_stored(form, run, [&](std::int64_t column, std::int64_t number) {
        for (std::int64_t row = 0; row < form.shared_rows; ++row) {
          if (run.first_row + row >= view.rows || column >= view.columns) continue;
          const auto at = static_cast<std::size_t>((run.first_row + row) * view.columns + column);
          dense.keep[at] = 1;
          dense.codes[at] = load_code(codes, form.bits, code_index(form, row, number), count);
        }
      });
      codes += bytes_of_codes(form.bits, count);
    });
  }
  for (std::int64_t row = 0; row < view.rows; ++row) {
    for (std::int64_t group = 0; group < view.scale_groups; ++group) {
      const std::int64_t at = scale_index(view, row, group);
      dense.scales[static_cast<std::size_t>(row * view.scale_groups + group)] =
          load_scale(view.scales, form.scale_type == ScaleType::Float16, at);
    }
  }
  return dense;
}

}  // namespace edgecompress
