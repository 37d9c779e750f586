#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace edgecompress {

/// A dtype of the safetensors format.
struct FormatDType {
  std::string_view name;
  std::uint64_t bits;          ///< of one element
  std::optional<DType> dtype;  ///< nothing when edgecompress cannot read such a tensor
};

/// What a header says about one tensor, not yet compared with the file's size or the other tensors.
struct HeaderEntry {
  std::size_t name_begin = 0;
  std::size_t name_size = 0;
  const FormatDType* dtype = nullptr;
  std::size_t shape_begin = 0;
  std::size_t rank = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// All entries of a header in its order. Names and dimensions lie one after another in two arrays:
/// a hostile header names a million tensors, and a string and a vector for each would take several
/// times its own size.
struct HeaderContent {
  std::string names;
  std::vector<std::int64_t> dimensions;
  std::vector<HeaderEntry> entries;

  std::string_view name(const HeaderEntry& entry) const {
    return std::string_view(names).substr(entry.name_begin, entry.name_size);
  }
  std::span<const std::int64_t> shape(const HeaderEntry& entry) const {
    return std::span(dimensions).subspan(entry.shape_begin, entry.rank);
  }
};

/// Reads a safetensors header (the JSON text alone) without building a document.
/// Throws Error{Malformed} with the codes S6 ... S18, S22 and S29 ... S33.
HeaderContent parse_safetensors_header(std::string_view header, const std::string& source);

}  // namespace edgecompress
