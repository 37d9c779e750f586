#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace edgecompress {

/// Converts little-endian F32, F16 or BF16 elements of any alignment to float, exactly.
/// bytes: out.size() * dtype_bytes(dtype) bytes.
void floats_from_bytes(std::span<const std::byte> bytes, DType dtype, std::span<float> out);

/// The inverse; F16 and BF16 round ties to even.
void bytes_from_floats(std::span<const float> values, DType dtype, std::span<std::byte> out);

}  // namespace edgecompress
