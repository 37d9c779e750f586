#pragma once

#include <variant>

namespace edgecompress {

/// Keeps the weights of largest magnitude.
struct MagnitudeMask {};
/// Keeps the weights of largest |W| * ||x|| (arXiv 2306.11695, eq. 1); needs calibration.
struct WandaMask {};

using MaskMethod = std::variant<MagnitudeMask, WandaMask>;

}  // namespace edgecompress
