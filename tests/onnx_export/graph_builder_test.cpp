#include "onnx_export/graph_builder.h"

#include <stdexcept>

#include <onnx_ir.pb.h>

#include "support/catch.h"
#include "support/refusal.h"

using namespace edgecompress;

namespace {

onnx_ir::ModelProto parsed(const GraphBuilder& graph,
                           const std::map<std::string, std::uint64_t, std::less<>>& offsets = {}) {
  onnx_ir::ModelProto model;
  REQUIRE(model.ParseFromString(graph.serialize(offsets, "data")));
  return model;
}

Initializer bytes_of(const std::string& name, const std::string& text) {
  return {.name = name,
          .type = OnnxType::Uint8,
          .dims = {std::ssize(text)},
          .source = [text](const ByteSink& sink) { sink(std::as_bytes(std::span(text))); }};
}

}  // namespace

TEST_CASE("a graph carries its operator sets, and com.microsoft only when it uses it",
          "[onnx_export]") {
  GraphBuilder graph(21);
  graph.add_input("x", OnnxType::Float, {"batch", std::int64_t{3}});
  const std::string y = graph.add({.name = "/a", .op = "Neg", .inputs = {"x"}});
  CHECK(y == "/a/output_0");
  CHECK(parsed(graph).opset_import_size() == 1);
  graph.add_contrib({.name = "/b", .op = "QuickGelu", .inputs = {y}, .outputs = {"z"}});
  graph.add_output("z", OnnxType::Float, {"batch", std::int64_t{3}});
  const onnx_ir::ModelProto model = parsed(graph);
  CHECK(model.ir_version() == 10);
  REQUIRE(model.opset_import_size() == 2);
  CHECK(model.opset_import(0).version() == 21);
  CHECK(model.opset_import(1).domain() == "com.microsoft");
  CHECK(model.opset_import(1).version() == 1);
  CHECK(model.graph().node(0).domain().empty());
  CHECK(model.graph().node(1).domain() == "com.microsoft");
  const auto& shape = model.graph().input(0).type().tensor_type().shape();
  CHECK(shape.dim(0).dim_param() == "batch");
  CHECK(shape.dim(1).dim_value() == 3);
}

TEST_CASE("a name that is taken or a value that does not exist yet is a bug", "[onnx_export]") {
  GraphBuilder graph(21);
  graph.add_input("x", OnnxType::Float, {});
  graph.add({.name = "/a", .op = "Neg", .inputs = {"x"}});
  CHECK_THROWS_AS(graph.add({.name = "/a", .op = "Neg", .inputs = {"x"}, .outputs = {"y"}}),
                  std::logic_error);
  CHECK_THROWS_AS(graph.add({.name = "/b", .op = "Neg", .inputs = {"x"}, .outputs = {"x"}}),
                  std::logic_error);
  CHECK_THROWS_AS(graph.add({.name = "/c", .op = "Neg", .inputs = {"later"}}), std::logic_error);
  CHECK_THROWS_AS(graph.add(bytes_of("x", "ab")), std::logic_error);
  CHECK_THROWS_AS(graph.add_output("nothing", OnnxType::Float, {}), std::logic_error);
}

TEST_CASE("attributes keep their type", "[onnx_export]") {
  GraphBuilder graph(21);
  graph.add_input("x", OnnxType::Float, {});
  graph.add({.name = "/a",
             .op = "Op",
             .inputs = {"x", "", "x"},
             .attributes = {
                 {"i", std::int64_t{-7}}, {"f", 0.5F}, {"l", std::vector<std::int64_t>{1, 0}}}});
  const onnx_ir::ModelProto model = parsed(graph);
  const onnx_ir::NodeProto& node = model.graph().node(0);
  CHECK(node.input(1).empty());
  CHECK(node.attribute(0).type() == onnx_ir::AttributeProto_AttributeType_INT);
  CHECK(node.attribute(0).i() == -7);
  CHECK(node.attribute(1).type() == onnx_ir::AttributeProto_AttributeType_FLOAT);
  CHECK(node.attribute(1).f() == 0.5F);
  CHECK(node.attribute(2).type() == onnx_ir::AttributeProto_AttributeType_INTS);
  CHECK(node.attribute(2).ints_size() == 2);
}

TEST_CASE("equal constants are stored once, scalars without a dimension", "[onnx_export]") {
  GraphBuilder graph(21);
  CHECK(graph.int64_scalar(1) == graph.int64_scalar(1));
  CHECK(graph.int64_scalar(1) != graph.int64_vector({1}));
  CHECK(graph.int64_vector({1, 2}) != graph.int64_vector({12}));
  CHECK(graph.float_scalar(1e-5F) == graph.float_scalar(1e-5F));
  CHECK(graph.float_scalar(1e-5F) != graph.float_scalar(std::nextafter(1e-5F, 1.0F)));
  const onnx_ir::ModelProto model = parsed(graph);
  REQUIRE(model.graph().initializer_size() == 6);
  const onnx_ir::TensorProto& scalar = model.graph().initializer(0);
  CHECK(scalar.dims_size() == 0);
  CHECK(scalar.raw_data() == std::string("\1\0\0\0\0\0\0\0", 8));
}

TEST_CASE("a graph that no protobuf message holds is refused", "[onnx_export]") {
  constexpr std::uint64_t kLargest = 2147483647;
  CHECK_NOTHROW(refuse_large_graph(kLargest));
  const std::optional<Refusal> refusal = refusal_of([] { refuse_large_graph(kLargest + 1); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "X4");
  CHECK(refusal->kind == ErrorKind::Unsupported);
  CHECK(refusal->says("2147483648 bytes"));
}

TEST_CASE("a tensor with an offset lies in the data file, others in the graph", "[onnx_export]") {
  GraphBuilder graph(21);
  graph.add(bytes_of("inside", "abc"));
  graph.add(bytes_of("outside", "defgh"));
  const onnx_ir::ModelProto model = parsed(graph, {{"outside", 4096}});
  CHECK(model.graph().initializer(0).raw_data() == "abc");
  const onnx_ir::TensorProto& outside = model.graph().initializer(1);
  CHECK(outside.data_location() == onnx_ir::TensorProto_DataLocation_EXTERNAL);
  CHECK_FALSE(outside.has_raw_data());
  std::map<std::string, std::string> entries;
  for (const auto& entry : outside.external_data()) entries[entry.key()] = entry.value();
  CHECK(entries == std::map<std::string, std::string>{
                       {"location", "data"}, {"offset", "4096"}, {"length", "5"}});
}

TEST_CASE("two 4-bit elements share a byte", "[onnx_export]") {
  const std::vector<std::int64_t> odd{3, 5};
  CHECK(onnx_tensor_bytes(OnnxType::Int4, odd) == 8);
  CHECK(onnx_tensor_bytes(OnnxType::Float, odd) == 60);
  CHECK(onnx_tensor_bytes(OnnxType::Int64, {}) == 8);
}
