#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace edgecompress {

namespace onnx_ir {
class GraphProto;
class ModelProto;
class TensorProto;
}  // namespace onnx_ir

/// Throws Error{Malformed} O1 when the file is no ONNX model.
onnx_ir::ModelProto read_graph(const std::filesystem::path& graph);

/// Where a tensor says its bytes lie.
struct TensorPlacement {
  std::string location;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
};

/// Throws Error{Malformed} O9.
TensorPlacement placement_of(const onnx_ir::TensorProto& tensor);

/// Checks every node of our own domain, and opens its weights. The placement of all tensors must
/// have been checked. Throws Error O14, B01, B02.
void check_sparse_products(const std::filesystem::path& folder, const onnx_ir::GraphProto& graph);

}  // namespace edgecompress
