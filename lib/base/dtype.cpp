#include "base/dtype.h"

#include <array>

#include "base/error.h"

namespace edgecompress {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  std::uint64_t bytes;
};

constexpr std::array kRows{Row{DType::F64, "F64", 8}, Row{DType::F32, "F32", 4},
                           Row{DType::F16, "F16", 2}, Row{DType::BF16, "BF16", 2},
                           Row{DType::I64, "I64", 8}, Row{DType::I32, "I32", 4},
                           Row{DType::I16, "I16", 2}, Row{DType::I8, "I8", 1},
                           Row{DType::U8, "U8", 1},   Row{DType::Bool, "BOOL", 1}};

const Row& row_of(DType dtype) {
  for (const Row& row : kRows) {
    if (row.dtype == dtype) return row;
  }
  ensure(false, "a row for every dtype");
  return kRows[0];
}

}  // namespace

std::string_view dtype_name(DType dtype) { return row_of(dtype).name; }

std::optional<DType> find_dtype(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::uint64_t dtype_bytes(DType dtype) { return row_of(dtype).bytes; }

bool is_weight_float(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16;
}

}  // namespace edgecompress
