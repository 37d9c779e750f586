#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/staged_output.h"

namespace edgecompress {

/// One tensor of a safetensors file, checked against the file it came from.
struct TensorEntry {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;   ///< row-major; empty for a scalar
  std::span<const std::byte> bytes;  ///< a view of the mapped file; little-endian; any alignment
  std::string_view unreadable_dtype =
      {};  ///< "F8_E4M3" ...: in the format, but not one edgecompress reads; `dtype`
           ///< then means nothing. Empty for all others.
};

/// Reads the header of a whole safetensors file.
///
/// file:    the file's bytes; they must outlive every returned entry.
/// source:  named in errors.
/// Returns  the entries in the order of their bytes in the file.
/// Throws   Error{Malformed} with the code of docs/security.md's table (S1 ... S35) and what was
/// expected and found. Cost     a header of 100 MB is refused or read within about a second and 256
/// MiB. Source:  safetensors format, README section "Format"; stricter where two readers could
/// disagree.
std::vector<TensorEntry> parse_safetensors(std::span<const std::byte> file,
                                           const std::string& source);

/// What a tensor to be written looks like, without its bytes.
struct TensorHeader {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
};

/// Writes one safetensors file in a single pass: the header is known before the first byte of data.
class SafetensorsWriter {
 public:
  /// tensors: written in this order; names unique. metadata: written in key order. The file's size
  /// is known at once and reserved. Throws as StagedFolder::create.
  SafetensorsWriter(StagedFolder& folder, const std::string& file_name,
                    std::vector<TensorHeader> tensors,
                    const std::map<std::string, std::string>& metadata);

  /// Appends data of the tensor whose turn it is; pieces of one tensor may come in several calls.
  /// `name` must be that tensor and its bytes must not exceed shape x dtype (a bug otherwise).
  void append(std::string_view name, std::span<const std::byte> bytes);

  /// Closes the file when every tensor is complete. Returns the file's SHA-256.
  std::string close();

 private:
  StagedFile file_;
  std::vector<TensorHeader> tensors_;
  std::size_t current_ = 0;
  std::uint64_t current_bytes_ = 0;
};

/// What such a file starts with: the header's length and the header; the data follows.
std::string safetensors_header(const std::vector<TensorHeader>& tensors,
                               const std::map<std::string, std::string>& metadata);

/// Bytes of the file that SafetensorsWriter makes of these tensors.
std::uint64_t safetensors_file_bytes(const std::vector<TensorHeader>& tensors,
                                     const std::map<std::string, std::string>& metadata);

/// Elements of a shape; it must have been checked before (no overflow).
std::int64_t num_elements(std::span<const std::int64_t> shape);

}  // namespace edgecompress
