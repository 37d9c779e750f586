#include <onnx_ir.pb.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/staged_output.h"
#include "onnx_export/export_model.h"

namespace edgecompress {

void write_exact_graph(const std::filesystem::path& graph,
                       const std::filesystem::path& exact_graph) {
  if (std::filesystem::absolute(graph).parent_path() !=
      std::filesystem::absolute(exact_graph).parent_path()) {
    throw Error(
        ErrorKind::Usage, "X5",
        concat("the exact graph ", exact_graph.string(), " must lie in the folder of ",
               graph.string(), ", because both name their data file relative to themselves"));
  }
  const MappedFile file(graph);
  onnx_ir::ModelProto model;
  if (!model.ParseFromArray(file.bytes().data(), static_cast<int>(file.bytes().size()))) {
    throw Error(ErrorKind::Malformed, "O1", concat(graph.string(), " is not an ONNX model"));
  }
  for (onnx_ir::NodeProto& node : *model.mutable_graph()->mutable_node()) {
    if (node.op_type() != "MatMulNBits") continue;
    for (onnx_ir::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.name() == "accuracy_level") attribute.set_i(0);
    }
  }
  write_file_atomically(exact_graph, model.SerializeAsString());
}

}  // namespace edgecompress
