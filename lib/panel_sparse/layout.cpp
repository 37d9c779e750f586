#include "panel_sparse/layout.h"

#include <algorithm>

#include "base/checked_math.h"
#include "base/error.h"
#include "panel_sparse/runs.h"

namespace edgecompress {

void sparse_malformed(const std::string& why) {
  throw Error(ErrorKind::Malformed, "B01", "sparse matrix: " + why);
}
void sparse_unsupported(const std::string& why) {
  throw Error(ErrorKind::Unsupported, "B02", "sparse matrix: " + why);
}

namespace {

constexpr std::int64_t kMaxExtent = std::int64_t{1} << 31;

void require_known(const PanelSparseForm& form) {
  const auto one_of = [](std::int64_t value, std::initializer_list<std::int64_t> known,
                         const char* name) {
    if (std::find(known.begin(), known.end(), value) != known.end()) return;
    std::string list;
    for (const std::int64_t each : known) list += concat(list.empty() ? "" : ", ", each);
    sparse_unsupported(concat(name, " is ", value, "; known are ", list));
  };
  one_of(form.bits, {4, 8}, "bits");
  one_of(form.shared_rows, {16, 8, 4, 1}, "shared_rows");
  if (form.shared_rows == 16) {
    one_of(form.column_block, {1, 4}, "column_block");
  } else {
    one_of(form.column_block, {1}, "column_block (with fewer than 16 shared_rows)");
  }
  one_of(form.group, {32, 64, 128, 256}, "group");
  one_of(static_cast<int>(form.scale_type), {0, 1}, "scale_type");
  if (form.groups_per_scale < 1) sparse_unsupported("groups_per_scale must be at least 1");
}

std::int64_t scale_bytes(ScaleType type) { return type == ScaleType::Float32 ? 4 : 2; }

}  // namespace

PanelSparseView sized_view(const PanelSparseForm& form, std::int64_t rows, std::int64_t columns) {
  require_known(form);
  if (rows < 1 || columns < 1 || rows >= kMaxExtent || columns >= kMaxExtent) {
    sparse_malformed(concat("it claims ", rows, " rows and ", columns, " columns"));
  }
  PanelSparseView view{.form = form, .rows = rows, .columns = columns};
  view.panels = ceil_divide(rows, panel_rows(form));
  view.groups = ceil_divide(columns, form.group);
  view.scale_groups = ceil_divide(view.groups, std::min(form.groups_per_scale, view.groups));
  view.bitmap_bytes = form.group / (8 * form.column_block);
  return view;
}

std::int64_t panel_scale_bytes(const PanelSparseView& view) {
  return view.scale_groups * panel_rows(view.form) * scale_bytes(view.form.scale_type);
}

Layout layout_of(const PanelSparseView& view) {
  const auto align = [](std::int64_t offset) { return round_up(offset, kPartAlignment); };
  Layout at{};
  at.starts = kHeaderBytes;
  at.bitmaps = align(at.starts + 8 * (view.panels + 1));
  at.scales = align(at.bitmaps + view.panels * panel_bitmap_bytes(view));
  at.codes = align(at.scales + view.panels * panel_scale_bytes(view));
  return at;
}

}  // namespace edgecompress
