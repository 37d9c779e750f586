#include <onnx_ir.pb.h>

#include "base/error.h"
#include "base/staged_output.h"
#include "onnx_export/export_model.h"
#include "onnx_export/graph_builder.h"
#include "onnx_export/graph_check.h"

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
  onnx_ir::ModelProto model = read_graph(graph);
  for (onnx_ir::NodeProto& node : *model.mutable_graph()->mutable_node()) {
    if (node.op_type() != "MatMulNBits" && node.op_type() != kPanelSparseMatMul) continue;
    for (onnx_ir::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.name() == "accuracy_level") attribute.set_i(0);
    }
  }
  write_file_atomically(exact_graph, model.SerializeAsString());
}

}  // namespace edgecompress
