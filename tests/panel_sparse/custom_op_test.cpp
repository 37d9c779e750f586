#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "ort/loaded_graph.h"
#include "ort/session.h"
#include "panel_sparse/multiply.h"
#include "random_matrix.h"
#include "support/catch.h"
#include "support/temp_dir.h"
#include "support/tiny_onnx.h"

namespace edgecompress {
namespace {

using Floats = std::vector<float>;

const OnnxRuntime& runtime() {
  static const OnnxRuntime loaded{find_onnxruntime({})};
  return loaded;
}

struct Node {
  std::vector<std::uint8_t> blob;
  std::int64_t columns = 0;
  Floats bias = {};  ///< empty: none
  bool blob_is_constant = true;
  TinyOnnx::Attributes attributes = {};
};

Node node_for(const RandomMatrix& matrix, std::int64_t accuracy_level) {
  return {.blob = matrix.pack(),
          .columns = matrix.columns,
          .attributes = {{"K", matrix.columns},
                         {"N", matrix.rows},
                         {"accuracy_level", accuracy_level},
                         {"format_version", 1}}};
}

std::string graph_of(const Node& node) {
  TinyOnnx onnx;
  const auto blob_shape = std::vector{std::ssize(node.blob)};
  onnx.input("x", TinyOnnx::kFloat, {-1, -2, node.columns});
  if (node.blob_is_constant) {
    onnx.initializer("w", TinyOnnx::kUint8, blob_shape, bytes_of(node.blob));
  } else {
    onnx.input("w", TinyOnnx::kUint8, blob_shape);
  }
  std::vector<std::string> inputs{"x", "w"};
  if (!node.bias.empty()) {
    onnx.initializer("b", TinyOnnx::kFloat, {std::ssize(node.bias)}, bytes_of(node.bias));
    inputs.push_back("b");
  }
  onnx.node("ai.edgecompress", "PanelSparseMatMul", inputs, {"y"}, node.attributes);
  onnx.output("y", TinyOnnx::kFloat);
  return onnx.model();
}

OnnxSessionOptions with_ops(int threads) {
  return {.num_threads = threads, .custom_ops_library = EDGECOMPRESS_OPS_LIBRARY};
}

OnnxTensor run(const Node& node, int threads, const std::vector<std::int64_t>& shape,
               const Floats& x) {
  const TempDir folder;
  OnnxSession session(runtime(), folder.write("op.onnx", graph_of(node)), with_ops(threads));
  const std::vector<OnnxTensor> inputs{{"x", shape, x}};
  return session.run(inputs)[0];
}

Floats inputs(std::int64_t count) {
  Floats x;
  for (std::int64_t i = 0; i < count; ++i) x.push_back(std::sin(static_cast<float>(i) * 1.7F));
  return x;
}

std::string refusal(const Node& node) {
  const TempDir folder;
  try {
    OnnxSession(runtime(), folder.write("op.onnx", graph_of(node)), with_ops(1));
  } catch (const Error& error) {
    return error.what();
  }
  return "loaded";
}

void set_attribute(Node& node, const std::string& name, std::int64_t value) {
  for (auto& [key, held] : node.attributes) {
    if (key == name) held = value;
  }
}

}  // namespace

TEST_CASE("the operator gives the library's bits, in every form, with one and two threads",
          "[op]") {
  for (const PanelSparseForm& form : all_forms()) {
    if (form.group == 32 || form.group == 256) continue;
    CAPTURE(form);
    const RandomMatrix matrix = random_matrix(form, 150, 200, 0.5, 3);
    const Node node = node_for(matrix, 4);
    const Floats x = inputs(2 * 3 * 200);
    Floats expected(2 * 3 * 150);
    multiply_panel_sparse(open_panel_sparse(node.blob), supported_instruction_sets().back(), x,
                          expected);
    for (const int threads : {1, 2}) {
      const OnnxTensor y = run(node, threads, {2, 3, 200}, x);
      CHECK(y.shape == std::vector<std::int64_t>{2, 3, 150});
      CHECK(std::get<Floats>(y.values) == expected);
    }
  }
}

TEST_CASE("accuracy level 0 multiplies with float activations, and a bias is added", "[op]") {
  const RandomMatrix matrix =
      random_matrix({.bits = 4, .shared_rows = 8, .group = 64}, 40, 100, 0.5, 8);
  Node node = node_for(matrix, 0);
  const Floats x = inputs(2 * 100);
  Floats expected(2 * 40);
  const PanelSparseView view = open_panel_sparse(node.blob);
  multiply_exact(view, kernels_for(supported_instruction_sets().back()), x, 0, view.panels,
                 expected);
  CHECK(std::get<Floats>(run(node, 1, {1, 2, 100}, x).values) == expected);
  node.bias = inputs(40);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += node.bias[i % 40];
  CHECK(std::get<Floats>(run(node, 2, {1, 2, 100}, x).values) == expected);
}

TEST_CASE("no tokens give no output", "[op]") {
  const Node node = node_for(random_matrix({.group = 64}, 16, 64, 1, 8), 4);
  CHECK(run(node, 1, {0, 5, 64}, {}).shape == std::vector<std::int64_t>{0, 5, 16});
}

TEST_CASE("the output's shape is inferred when the graph loads", "[op]") {
  const Node node = node_for(random_matrix({.group = 64}, 20, 64, 1, 8), 4);
  const TempDir folder;
  const LoadedGraph graph(runtime(), folder.write("op.onnx", graph_of(node)), with_ops(1));
  CHECK(graph.outputs().at(0).shape == std::vector<std::int64_t>{-1, -1, 20});
}

TEST_CASE("a node whose attributes or weights are wrong does not load, and says why", "[op]") {
  Node node = node_for(random_matrix({.group = 64}, 20, 64, 0.5, 8), 4);
  REQUIRE(refusal(node) == "loaded");
  std::string words;
  SECTION("a newer format") {
    set_attribute(node, "format_version", 2);
    words = "format_version 2 is unknown";
  }
  SECTION("an accuracy level that is not defined") {
    set_attribute(node, "accuracy_level", 1);
    words = "accuracy_level is 1";
  }
  SECTION("other columns") {
    set_attribute(node, "K", 65);
    words = "attribute K is 65, but its weights have 64";
  }
  SECTION("other rows") {
    set_attribute(node, "N", 32);
    words = "attribute N is 32, but its weights have 20";
  }
  SECTION("an attribute missing") {
    node.attributes.pop_back();
    words = "format_version";
  }
  SECTION("weights that are no sparse matrix") {
    node.blob[0] = 0;
    words = "does not begin with ECPANEL";
  }
  SECTION("weights that are computed") {
    node.blob_is_constant = false;
    words = "must be an initializer";
  }
  const std::string text = refusal(node);
  CAPTURE(text, words);
  CHECK(text.find(words) != std::string::npos);
}

TEST_CASE("an input of another width is refused while running", "[op]") {
  Node node = node_for(random_matrix({.group = 64}, 20, 64, 0.5, 8), 4);
  node.columns = 63;  // of the graph's input
  const TempDir folder;
  OnnxSession session(runtime(), folder.write("op.onnx", graph_of(node)), with_ops(1));
  const std::vector<OnnxTensor> x{{"x", {1, 1, 63}, inputs(63)}};
  CHECK_THROWS_AS(session.run(x), Error);
}

TEST_CASE("two sessions may use the operator at once", "[op]") {
  const Node node = node_for(random_matrix({.group = 64}, 20, 64, 0.5, 8), 4);
  const TempDir folder;
  const auto file = folder.write("op.onnx", graph_of(node));
  OnnxSession first(runtime(), file, with_ops(1));
  OnnxSession second(runtime(), file, with_ops(1));
  const std::vector<OnnxTensor> x{{"x", {1, 1, 64}, inputs(64)}};
  CHECK(std::get<Floats>(first.run(x)[0].values) == std::get<Floats>(second.run(x)[0].values));
}

}  // namespace edgecompress
