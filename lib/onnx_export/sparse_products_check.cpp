#include <map>
#include <memory>
#include <span>

#include <onnx_ir.pb.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "onnx_export/graph_builder.h"
#include "onnx_export/graph_check.h"
#include "panel_sparse/panel_sparse_matrix.h"

namespace edgecompress {
namespace {

constexpr int kLeastInputs = 2;  // activations and weights; a bias may follow

[[noreturn]] void fail(const onnx_ir::NodeProto& node, const std::string& why) {
  throw Error(ErrorKind::Malformed, "O14", concat("node ", node.name(), " ", why));
}

std::int64_t attribute_of(const onnx_ir::NodeProto& node, const std::string& name) {
  for (const onnx_ir::AttributeProto& attribute : node.attribute()) {
    if (attribute.name() == name) return attribute.i();
  }
  fail(node, concat("has no attribute ", name));
}

/// The bytes of initializers, from data files that are mapped once.
class TensorReader {
 public:
  explicit TensorReader(const std::filesystem::path& folder) : folder_(folder) {}

  std::span<const std::uint8_t> bytes(const onnx_ir::TensorProto& tensor) {
    if (tensor.data_location() != onnx_ir::TensorProto_DataLocation_EXTERNAL) {
      return as_uint8(std::as_bytes(std::span(tensor.raw_data())));
    }
    const TensorPlacement placement = placement_of(tensor);
    std::unique_ptr<MappedFile>& file = files_[placement.location];
    if (file == nullptr) file = std::make_unique<MappedFile>(folder_ / placement.location);
    const std::span<const std::byte> from = file->bytes().subspan(placement.offset);
    return as_uint8(placement.length ? from.first(*placement.length) : from);
  }

 private:
  static std::span<const std::uint8_t> as_uint8(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  }

  std::filesystem::path folder_;
  std::map<std::string, std::unique_ptr<MappedFile>> files_;
};

}  // namespace

void check_sparse_products(const std::filesystem::path& folder, const onnx_ir::GraphProto& graph) {
  std::map<std::string, const onnx_ir::TensorProto*> initializers;
  for (const onnx_ir::TensorProto& tensor : graph.initializer()) {
    initializers.emplace(tensor.name(), &tensor);
  }
  TensorReader reader(folder);
  for (const onnx_ir::NodeProto& node : graph.node()) {
    if (node.domain() != kSparseDomain) continue;
    if (node.op_type() != kPanelSparseMatMul) {
      fail(node, concat("is a ", node.op_type(), ", which ", kSparseDomain, " does not have"));
    }
    const auto weights =
        node.input_size() < kLeastInputs ? initializers.end() : initializers.find(node.input(1));
    if (weights == initializers.end() ||
        weights->second->data_type() != onnx_ir::TensorProto_DataType_UINT8) {
      fail(node, "must read its weights from an initializer of UINT8");
    }
    with_context(concat("opening the weights of node ", node.name()), [&] {
      const PanelSparseView view = open_panel_sparse(reader.bytes(*weights->second));
      const std::int64_t columns = attribute_of(node, "K");
      const std::int64_t rows = attribute_of(node, "N");
      if (view.rows == rows && view.columns == columns) return;
      fail(node, concat("says ", rows, " x ", columns, " (N x K), but its weights are ", view.rows,
                        " x ", view.columns));
    });
  }
}

}  // namespace edgecompress
