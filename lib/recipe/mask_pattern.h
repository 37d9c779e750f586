#pragma once

#include <optional>
#include <string_view>

#include "weights/sparsity_pattern.h"

namespace edgecompress {

inline constexpr std::string_view kMaskPatternForms =
    "unstructured, per-row, N:M (2:4) or RxC (16x1 rows x columns)";

/// A mask pattern as recipes write it. sparsity: of every pattern but N:M, which says it itself.
/// Nothing when the text is none, or its numbers are out of range (0 < N < M <= 64, 1 < R*C, R and
/// C from 1 to 256).
std::optional<SparsityPattern> parse_mask_pattern(std::string_view text, double sparsity);

}  // namespace edgecompress
