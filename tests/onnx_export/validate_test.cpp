#include <functional>

#include <onnx_ir.pb.h>

#include "base/error.h"
#include "contains.h"
#include "onnx_export/export_model.h"
#include "support/catch.h"
#include "support/temp_dir.h"

using namespace edgecompress;

namespace {

void add_value(onnx_ir::ValueInfoProto& value, const std::string& name) {
  value.set_name(name);
  value.mutable_type()->mutable_tensor_type()->set_elem_type(onnx_ir::TensorProto_DataType_FLOAT);
}

onnx_ir::NodeProto& add_node(onnx_ir::GraphProto& graph, const std::string& name,
                             const std::vector<std::string>& inputs, const std::string& output) {
  onnx_ir::NodeProto& node = *graph.add_node();
  node.set_name(name);
  node.set_op_type("Add");
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

void set_entry(onnx_ir::TensorProto& tensor, const std::string& key, const std::string& value) {
  for (onnx_ir::StringStringEntryProto& entry : *tensor.mutable_external_data()) {
    if (entry.key() == key) return entry.set_value(value);
  }
  onnx_ir::StringStringEntryProto& entry = *tensor.add_external_data();
  entry.set_key(key);
  entry.set_value(value);
}

onnx_ir::TensorProto& add_external(onnx_ir::GraphProto& graph, const std::string& name,
                                   std::int64_t floats, int offset) {
  onnx_ir::TensorProto& tensor = *graph.add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx_ir::TensorProto_DataType_FLOAT);
  tensor.add_dims(floats);
  tensor.set_data_location(onnx_ir::TensorProto_DataLocation_EXTERNAL);
  set_entry(tensor, "location", "weights");
  set_entry(tensor, "offset", std::to_string(offset));
  set_entry(tensor, "length", std::to_string(4 * floats));
  return tensor;
}

/// x + a + b + c with a in the graph and b, c in "weights" (100 bytes): b at 0 ... 40, c at 60 ...
/// 100.
onnx_ir::ModelProto sound_model() {
  onnx_ir::ModelProto model;
  model.set_ir_version(10);
  onnx_ir::OperatorSetIdProto& opset = *model.add_opset_import();
  opset.set_domain("");
  opset.set_version(21);
  onnx_ir::GraphProto& graph = *model.mutable_graph();
  graph.set_name("g");
  add_value(*graph.add_input(), "x");
  add_value(*graph.add_output(), "y");
  onnx_ir::TensorProto& inside = *graph.add_initializer();
  inside.set_name("a");
  inside.set_data_type(onnx_ir::TensorProto_DataType_INT4);
  inside.add_dims(5);
  inside.set_raw_data("abc");
  add_external(graph, "b", 10, 0);
  add_external(graph, "c", 10, 60);
  add_node(graph, "first", {"x", "a"}, "x1");
  add_node(graph, "second", {"x1", "b"}, "x2");
  add_node(graph, "third", {"x2", "c"}, "y");
  return model;
}

struct Lie {
  const char* code;
  const char* words;
  std::function<void(onnx_ir::ModelProto&)> tell;
};

onnx_ir::TensorProto& initializer(onnx_ir::ModelProto& model, int index) {
  return *model.mutable_graph()->mutable_initializer(index);
}

onnx_ir::NodeProto& node(onnx_ir::ModelProto& model, int index) {
  return *model.mutable_graph()->mutable_node(index);
}

const std::vector<Lie>& lies() {
  using Model = onnx_ir::ModelProto;
  static const std::vector<Lie> all{
      {"O1", "no graph", [](Model& m) { m.clear_graph(); }},
      {"O1", "no IR version", [](Model& m) { m.clear_ir_version(); }},
      {"O2", "'com.microsoft', which", [](Model& m) { node(m, 1).set_domain("com.microsoft"); }},
      {"O2", "imported twice", [](Model& m) { m.add_opset_import()->set_domain("ai.onnx"); }},
      {"O3", "initializer a has", [](Model& m) { initializer(m, 1).set_name("a"); }},
      {"O3", "initializer x has", [](Model& m) { initializer(m, 2).set_name("x"); }},
      {"O3", "node output x1 has", [](Model& m) { node(m, 1).set_output(0, "x1"); }},
      {"O3", "without a name", [](Model& m) { initializer(m, 0).clear_name(); }},
      {"O4", "two nodes are named first", [](Model& m) { node(m, 2).set_name("first"); }},
      {"O5", "second reads nothing", [](Model& m) { node(m, 1).set_input(1, "nothing"); }},
      {"O5", "second reads x1, which is no", [](Model& m) { node(m, 0).Swap(&node(m, 1)); }},
      {"O6", "nothing produces graph output z",
       [](Model& m) { m.mutable_graph()->mutable_output(0)->set_name("z"); }},
      {"O6", "no output", [](Model& m) { m.mutable_graph()->clear_output(); }},
      {"O7", "element type 8", [](Model& m) { initializer(m, 0).set_data_type(8); }},
      {"O8", "dimension -5", [](Model& m) { initializer(m, 0).set_dims(0, -5); }},
      {"O8", "too many elements",
       [](Model& m) {
         initializer(m, 1).add_dims(std::int64_t{1} << 40);
         initializer(m, 1).add_dims(std::int64_t{1} << 40);
       }},
      {"O9", "offset '-4'", [](Model& m) { set_entry(initializer(m, 1), "offset", "-4"); }},
      {"O9", "length '40 '", [](Model& m) { set_entry(initializer(m, 1), "length", "40 "); }},
      {"O9", "offset '99999999999999999999'",
       [](Model& m) { set_entry(initializer(m, 1), "offset", "99999999999999999999"); }},
      {"O9", "unknown key 'basepath'",
       [](Model& m) { set_entry(initializer(m, 1), "basepath", "/"); }},
      {"O9", "gives length twice",
       [](Model& m) {
         *initializer(m, 1).add_external_data() = initializer(m, 1).external_data(2);
       }},
      {"O10", "holds 3 bytes", [](Model& m) { initializer(m, 0).set_dims(0, 7); }},
      {"O10", "has 40 bytes of weights", [](Model& m) { initializer(m, 1).set_dims(0, 11); }},
      {"O10", "has 100 bytes of weights",
       [](Model& m) { initializer(m, 1).mutable_external_data()->RemoveLast(); }},
      {"O11", "no file", [](Model& m) { set_entry(initializer(m, 1), "location", "absent"); }},
      {"O11", "no file", [](Model& m) { set_entry(initializer(m, 1), "location", "."); }},
      {"O11", "leaves the folder",
       [](Model& m) { set_entry(initializer(m, 1), "location", "../outside"); }},
      {"O11", "relative path",
       [](Model& m) { set_entry(initializer(m, 1), "location", "/etc/passwd"); }},
      {"O11", "relative path", [](Model& m) { set_entry(initializer(m, 1), "location", "a\\b"); }},
      {"O11", "through a link", [](Model& m) { set_entry(initializer(m, 1), "location", "link"); }},
      {"O12", "bytes 61 to 101", [](Model& m) { set_entry(initializer(m, 2), "offset", "61"); }},
      {"O12", "begins at byte 101",
       [](Model& m) { set_entry(initializer(m, 2), "offset", "101"); }},
      {"O13", "b and c overlap", [](Model& m) { set_entry(initializer(m, 2), "offset", "39"); }},
  };
  return all;
}

std::filesystem::path write_model(const TempDir& dir, const onnx_ir::ModelProto& model) {
  dir.write("outside", std::string(100, 'o'));
  dir.write("folder/weights", std::string(100, 'w'));
  const std::filesystem::path link = dir.path() / "folder/link";
  if (!std::filesystem::is_symlink(link)) std::filesystem::create_symlink("../outside", link);
  return dir.write("folder/model.onnx", model.SerializeAsString());
}

}  // namespace

TEST_CASE("a sound graph with its data beside it passes", "[onnx_export]") {
  const TempDir dir;
  onnx_ir::ModelProto model = sound_model();
  CHECK_NOTHROW(validate_onnx_folder(write_model(dir, model)));
  SECTION("two tensors over the same bytes too") {
    set_entry(initializer(model, 2), "offset", "0");
    CHECK_NOTHROW(validate_onnx_folder(write_model(dir, model)));
  }
  SECTION("and tensors that touch") {
    set_entry(initializer(model, 2), "offset", "40");
    CHECK_NOTHROW(validate_onnx_folder(write_model(dir, model)));
  }
}

TEST_CASE("a graph that lies is refused with what is wrong", "[onnx_export]") {
  REQUIRE(lies().size() > 30);
  for (const Lie& lie : lies()) {
    const TempDir dir;
    onnx_ir::ModelProto model = sound_model();
    lie.tell(model);
    CAPTURE(lie.code, lie.words);
    try {
      validate_onnx_folder(write_model(dir, model));
      FAIL_CHECK("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::Malformed);
      CHECK(error.code() == lie.code);
      CHECK(contains(error.what(), lie.words));
    }
  }
}

TEST_CASE("a file that is no ONNX model is refused", "[onnx_export]") {
  const TempDir dir;
  const std::filesystem::path file = dir.write("model.onnx", "<html>not found</html>");
  try {
    validate_onnx_folder(file);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == "O1");
    CHECK(contains(error.what(), "not an ONNX model"));
  }
}
