#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/float16.h"
#include "panel_sparse/layout.h"
#include "panel_sparse/little_endian.h"
#include "panel_sparse/panel_sparse_matrix.h"
#include "panel_sparse/runs.h"

namespace edgecompress {
namespace {

Header read_header(std::span<const std::uint8_t> blob) {
  if (blob.size() < static_cast<std::size_t>(kHeaderBytes)) {
    sparse_malformed(concat("its header needs 64 bytes, there are ", blob.size()));
  }
  const std::uint8_t* const in = blob.data();
  if (std::memcmp(in, kMagic.data(), kMagic.size()) != 0)
    sparse_malformed("it does not begin with ECPANEL");
  if (load_u32(in + 8) != kVersion) {
    sparse_unsupported(
        concat("format version ", load_u32(in + 8), "; this program reads version 1"));
  }
  if (std::any_of(in + 48, in + 64, [](std::uint8_t byte) { return byte != 0; })) {
    sparse_malformed("reserved bytes of its header are not zero");
  }
  Header header{};
  header.form = {.bits = in[12],
                 .shared_rows = in[13],
                 .column_block = in[14],
                 .group = static_cast<int>(std::min<std::uint32_t>(load_u32(in + 32), 1U << 30)),
                 .groups_per_scale = load_u32(in + 36),
                 .scale_type = static_cast<ScaleType>(in[15])};
  header.rows = static_cast<std::int64_t>(load_u64(in + 16));
  header.columns = static_cast<std::int64_t>(load_u64(in + 24));
  header.code_bytes = load_u64(in + 40);
  return header;
}

void check_last_bits(const PanelSparseView& view, std::int64_t panel) {
  const std::int64_t bitmaps = panel_rows(view.form) / view.form.shared_rows;
  const std::int64_t last_group = view.groups - 1;
  const std::int64_t used =
      ceil_divide(view.columns - last_group * view.form.group, view.form.column_block);
  for (std::int64_t which = 0; which < bitmaps; ++which) {
    const std::uint8_t* const bitmap =
        bitmaps_of(view, panel) + (last_group * bitmaps + which) * view.bitmap_bytes;
    for (std::int64_t bit = used; bit < view.bitmap_bytes * 8; ++bit) {
      if (bit_of(bitmap, bit))
        sparse_malformed(concat("panel ", panel, " stores a column beyond the last"));
    }
  }
}

void check_panel(const PanelSparseView& view, std::int64_t panel, std::uint64_t code_bytes) {
  const std::uint64_t begin = load_u64(view.starts + 8 * panel);
  const std::uint64_t end = load_u64(view.starts + 8 * (panel + 1));
  if (begin > end || end > code_bytes) {
    sparse_malformed(
        concat("panel ", panel, " claims the codes from ", begin, " to ", end, " of ", code_bytes));
  }
  std::int64_t needed = 0;
  for_each_run(view, panel, bitmaps_of(view, panel), [&](const Run& run) {
    needed += bytes_of_codes(view.form.bits, run_codes(view.form, run.stored));
  });
  if (static_cast<std::uint64_t>(needed) != end - begin) {
    sparse_malformed(concat("the bitmaps of panel ", panel, " need ", needed,
                            " bytes of codes, it has ", end - begin));
  }
  check_last_bits(view, panel);
}

void check_scales(const PanelSparseView& view) {
  const std::int64_t count = view.panels * view.scale_groups * panel_rows(view.form);
  for (std::int64_t i = 0; i < count; ++i) {
    const float scale = load_scale(view.scales, view.form.scale_type == ScaleType::Float16, i);
    if (!std::isfinite(scale)) sparse_malformed(concat("scale ", i, " is not finite"));
  }
}

}  // namespace

PanelSparseView open_panel_sparse(std::span<const std::uint8_t> blob) {
  const Header header = read_header(blob);
  PanelSparseView view = sized_view(header.form, header.rows, header.columns);
  const Layout at = layout_of(view);
  const std::uint64_t fixed = static_cast<std::uint64_t>(at.codes) + kPanelSparseSlack;
  if (blob.size() < fixed || blob.size() - fixed != header.code_bytes) {
    sparse_malformed(concat("a matrix of ", view.rows, " x ", view.columns, " with ",
                            header.code_bytes, " bytes of codes needs ", fixed,
                            " bytes more than those; there are ", blob.size(), " in all"));
  }
  view.starts = blob.data() + at.starts;
  view.bitmaps = blob.data() + at.bitmaps;
  view.scales = blob.data() + at.scales;
  view.codes = blob.data() + at.codes;
  if (load_u64(view.starts) != 0 || load_u64(view.starts + 8 * view.panels) != header.code_bytes) {
    sparse_malformed("the panels' codes do not begin at 0 and end at the end");
  }
  for (std::int64_t panel = 0; panel < view.panels; ++panel) {
    check_panel(view, panel, header.code_bytes);
  }
  check_scales(view);
  return view;
}

}  // namespace edgecompress
