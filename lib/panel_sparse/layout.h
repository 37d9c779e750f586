#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "panel_sparse/panel_sparse_view.h"

namespace edgecompress {

// The blob's fixed parts, shared by packing and opening.

inline constexpr std::array<char, 8> kMagic = {'E', 'C', 'P', 'A', 'N', 'E', 'L', '\n'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::int64_t kHeaderBytes = 64;
inline constexpr std::int64_t kPartAlignment = 64;

/// Where the parts of a blob begin.
struct Layout {
  std::int64_t starts, bitmaps, scales, codes;
};

struct Header {
  PanelSparseForm form;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::uint64_t code_bytes = 0;
};

[[noreturn]] void sparse_malformed(const std::string& why);
[[noreturn]] void sparse_unsupported(const std::string& why);

/// A view with the extents that follow from the header set, and no pointers yet.
/// Throws Error{Unsupported} for an unknown form, Error{Malformed} for impossible extents.
PanelSparseView sized_view(const PanelSparseForm& form, std::int64_t rows, std::int64_t columns);

Layout layout_of(const PanelSparseView& view);

/// Bytes of the scales of one panel.
std::int64_t panel_scale_bytes(const PanelSparseView& view);

}  // namespace edgecompress
