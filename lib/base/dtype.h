#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace edgecompress {

/// The element types of safetensors that edgecompress names. Names and sizes: safetensors format,
/// README.
enum class DType { F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool };

/// Returns the name that a safetensors header uses, for example "BF16".
std::string_view dtype_name(DType dtype);

/// Returns the type of that exact name, or nothing.
std::optional<DType> find_dtype(std::string_view name);

/// Bytes of one element.
std::uint64_t dtype_bytes(DType dtype);

/// True for the types a float weight may be stored in: F32, F16, BF16.
bool is_weight_float(DType dtype);

}  // namespace edgecompress
