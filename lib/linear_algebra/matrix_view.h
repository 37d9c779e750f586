#pragma once

#include <cstdint>
#include <type_traits>

namespace edgecompress {

/// Some rows and columns of a row-major matrix that somebody else owns.
template <typename T>
struct MatrixView {
  T* first;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;  ///< elements from a row to the next

  T* row(std::int64_t i) const { return first + i * stride; }

  MatrixView part(std::int64_t row_begin, std::int64_t num_rows, std::int64_t column_begin,
                  std::int64_t num_columns) const {
    return {first + row_begin * stride + column_begin, num_rows, num_columns, stride};
  }

  operator MatrixView<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {first, rows, columns, stride};
  }
};

}  // namespace edgecompress
