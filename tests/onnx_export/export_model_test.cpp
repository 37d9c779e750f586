#include "onnx_export/export_model.h"

#include <cstdlib>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>
#include <onnx_ir.pb.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "contains.h"
#include "llama/hollow_model.h"
#include "llama/known_shapes.h"
#include "support/catch.h"
#include "support/temp_dir.h"

using namespace edgecompress;

namespace {

const std::filesystem::path kMiniLlama =
    std::filesystem::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama";

std::string read_file(const std::filesystem::path& path) {
  return read_text_file(path, std::uint64_t{1} << 30);
}

onnx_ir::ModelProto read_graph(const std::filesystem::path& path) {
  onnx_ir::ModelProto model;
  REQUIRE(model.ParseFromString(read_file(path)));
  return model;
}

OnnxArtifact export_mini(const TempDir& dir, const std::string& name, const ExportOptions& options,
                         const Progress& progress = {}) {
  const ModelFolder model = ModelFolder::open(kMiniLlama);
  StagedFolder output(dir.path() / name, {kMiniLlama}, ExistingOutput::Refuse);
  OnnxArtifact artifact = export_onnx(model, options, output, "onnx", progress);
  output.publish();
  artifact.graph = dir.path() / name / "onnx" / artifact.graph.filename();
  return artifact;
}

std::string attribute_text(const onnx_ir::AttributeProto& attribute) {
  if (attribute.type() == onnx_ir::AttributeProto_AttributeType_FLOAT) {
    return concat(attribute.name(), "=", attribute.f());
  }
  if (attribute.type() == onnx_ir::AttributeProto_AttributeType_INT) {
    return concat(attribute.name(), "=", attribute.i());
  }
  std::string text = attribute.name() + "=";
  for (const std::int64_t item : attribute.ints()) text += concat(item, ",");
  return text;
}

void list_value(std::ostream& out, const char* what, const onnx_ir::ValueInfoProto& value) {
  out << what << ' ' << value.name() << " type " << value.type().tensor_type().elem_type() << " [";
  for (const auto& dim : value.type().tensor_type().shape().dim()) {
    out << (dim.has_dim_param() ? dim.dim_param() : std::to_string(dim.dim_value())) << ' ';
  }
  out << "]\n";
}

/// The whole graph but its numbers, a line for each part.
std::string listing(const onnx_ir::ModelProto& model) {
  std::ostringstream out;
  out << "ir " << model.ir_version();
  for (const auto& opset : model.opset_import()) {
    out << " '" << opset.domain() << "' " << opset.version();
  }
  out << '\n';
  for (const auto& input : model.graph().input()) list_value(out, "input", input);
  for (const auto& output : model.graph().output()) list_value(out, "output", output);
  for (const auto& node : model.graph().node()) {
    out << node.domain() << "::" << node.op_type() << ' ' << node.name() << " (";
    for (const std::string& input : node.input()) out << input << ' ';
    out << ") -> (";
    for (const std::string& output : node.output()) out << output << ' ';
    out << ')';
    for (const auto& attribute : node.attribute()) out << ' ' << attribute_text(attribute);
    out << '\n';
  }
  for (const auto& tensor : model.graph().initializer()) {
    out << "initializer " << tensor.name() << " type " << tensor.data_type() << " [";
    for (const std::int64_t dim : tensor.dims()) out << dim << ' ';
    out << ']';
    for (const auto& entry : tensor.external_data()) out << ' ' << entry.value();
    out << '\n';
  }
  return std::move(out).str();
}

}  // namespace

TEST_CASE("the graph of mini-llama is the one that was proved", "[onnx_export][golden]") {
  // The conformance tests show that these graphs compute what transformers does; this one shows
  // that they stayed the same. EDGECOMPRESS_REFRESH=1 writes the golden files anew.
  const bool genai = GENERATE(true, false);
  const TempDir dir;
  ExportOptions options;
  if (!genai) options.format = StandardFormat{};
  const OnnxArtifact artifact = export_mini(dir, "out", options);
  const std::string found = listing(read_graph(artifact.graph));
  const std::filesystem::path golden = std::filesystem::path(EDGECOMPRESS_SOURCE_DIR) /
                                       "tests/onnx_export/golden" /
                                       (genai ? "mini-llama-genai.txt" : "mini-llama-standard.txt");
  if (std::getenv("EDGECOMPRESS_REFRESH") != nullptr) {
    std::filesystem::create_directories(golden.parent_path());
    std::ofstream(golden) << found;
  }
  CHECK(found == read_file(golden));
}

TEST_CASE("the same model gives the same bytes on any number of threads", "[onnx_export]") {
  const bool genai = GENERATE(true, false);
  const TempDir dir;
  ExportOptions options;
  if (!genai) options.format = StandardFormat{};
  const OnnxArtifact one = export_mini(dir, "one", options);
  options.num_threads = 2;
  const OnnxArtifact two = export_mini(dir, "two", options);
  CHECK(one.file_sha256 == two.file_sha256);
}

TEST_CASE("an artifact accounts for every file and every stored byte", "[onnx_export]") {
  const TempDir dir;
  const OnnxArtifact artifact = export_mini(dir, "out", {.graph_metadata = "{\"bits\": 16}"});
  const std::filesystem::path folder = artifact.graph.parent_path();
  std::uint64_t total = 0;
  std::set<std::string> files;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    const std::string name = item.path().filename().string();
    files.insert(name);
    const std::string content = read_file(item.path());
    total += content.size();
    REQUIRE(artifact.file_sha256.contains(name));
    CHECK(artifact.file_sha256.at(name) == sha256_hex(std::as_bytes(std::span(content))));
  }
  CHECK(files == std::set<std::string>{"config.json", "genai_config.json", "generation_config.json",
                                       "model.onnx", "model.onnx.data", "special_tokens_map.json",
                                       "tokenizer.json", "tokenizer_config.json"});
  CHECK(artifact.file_sha256.size() == files.size());
  CHECK(artifact.total_bytes == total);
  CHECK(artifact.warnings.empty());

  const onnx_ir::ModelProto model = read_graph(artifact.graph);
  REQUIRE(model.metadata_props_size() == 2);
  CHECK(model.metadata_props(0).key() == "edgecompress_version");
  CHECK(model.metadata_props(0).value() == model.producer_version());
  CHECK(model.metadata_props(1).key() == "edgecompress");
  CHECK(model.metadata_props(1).value() == "{\"bits\": 16}");
  CHECK(model.producer_name() == "edgecompress");
  CHECK_FALSE(model.producer_version().empty());
  CHECK(std::ssize(artifact.tensors) == model.graph().initializer_size());
  std::map<std::string, ExportedTensor> tensors;
  for (const ExportedTensor& tensor : artifact.tensors) tensors.emplace(tensor.name, tensor);
  const ExportedTensor& packed = tensors.at("model.layers.1.attn.qkv_proj.MatMul.weight");
  CHECK(packed.module ==
        "model.layers.1.self_attn.q_proj,model.layers.1.self_attn.k_proj,model.layers.1.self_attn."
        "v_proj");
  CHECK(packed.bytes == (256 + 128 + 128) * 256 * 4);
  CHECK(tensors.at("cos_cache").module.empty());
}

TEST_CASE("weights of any size lie beside the graph, which stays small", "[onnx_export]") {
  const LlamaConfig config = known_shape("llama-2-7b");
  const HollowModel model(config, float_forms(config), HeadValues::OfItsOwn, {});
  const ArtifactSizes sizes = plan_onnx(model.folder(), {});
  CHECK(sizes.data_bytes > std::uint64_t{12} << 30);
  CHECK(sizes.graph_bytes < std::uint64_t{4} << 20);
}

TEST_CASE("progress grows to the whole", "[onnx_export]") {
  const TempDir dir;
  std::vector<ProgressEvent> events;
  export_mini(dir, "out", {}, [&](const ProgressEvent& event) { events.push_back(event); });
  REQUIRE(events.size() > 20);
  for (std::size_t i = 1; i < events.size(); ++i) CHECK(events[i - 1].done < events[i].done);
  CHECK(events.back().done == events.back().total);
}

TEST_CASE("options that cannot be meant are refused before anything is written", "[onnx_export]") {
  const TempDir dir;
  const auto refused = [&](const ExportOptions& options, const std::string& words) {
    const ModelFolder model = ModelFolder::open(kMiniLlama);
    StagedFolder output(dir.path() / "out", {}, ExistingOutput::Refuse);
    try {
      export_onnx(model, options, output, "", {});
      FAIL_CHECK("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::Usage);
      CHECK(error.code() == "X3");
      CHECK(contains(error.what(), words));
    }
    CHECK(std::filesystem::is_empty(output.path()));
  };
  refused({.format = GenaiFormat{.accuracy_level = 5}}, "found 5");
  refused({.context_length = -1}, "context_length must be 2 to 16777216");
  refused({.context_length = 1}, "found 1");
  refused({.context_length = 16777217}, "found 16777217");
  refused({.max_generation_length = 0}, "max_generation_length must be at least 1");
  refused({.num_threads = 0}, "num_threads must be at least 1");
}

TEST_CASE("a folder without tokenizer_config.json gets an empty one and a warning",
          "[onnx_export]") {
  const TempDir dir;
  const std::filesystem::path source = dir.path() / "model";
  std::filesystem::create_directory(source);
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json"}) {
    std::filesystem::copy_file(kMiniLlama / file, source / file);
  }
  const auto export_it = [&](const char* name) {
    StagedFolder output(dir.path() / name, {source}, ExistingOutput::Refuse);
    const OnnxArtifact artifact = export_onnx(ModelFolder::open(source), {}, output, "", {});
    output.publish();
    return artifact;
  };
  const OnnxArtifact artifact = export_it("a");
  CHECK(read_file(dir.path() / "a/tokenizer_config.json") == "{}\n");
  REQUIRE(artifact.warnings.size() == 1);
  CHECK(contains(artifact.warnings[0], "tokenizer_config.json"));
  std::filesystem::remove(source / "tokenizer.json");
  const OnnxArtifact bare = export_it("b");
  CHECK_FALSE(std::filesystem::exists(dir.path() / "b/tokenizer_config.json"));
  REQUIRE(bare.warnings.size() == 1);
  CHECK(contains(bare.warnings[0], "no tokenizer.json"));
}

TEST_CASE("config.json is passed on without the code and the path that it names", "[onnx_export]") {
  const TempDir dir;
  const std::filesystem::path source = dir.path() / "model";
  std::filesystem::create_directory(source);
  std::filesystem::copy_file(kMiniLlama / "model.safetensors", source / "model.safetensors");
  nlohmann::ordered_json config =
      nlohmann::ordered_json::parse(read_file(kMiniLlama / "config.json"));
  const nlohmann::ordered_json plain = config;
  config["auto_map"] = {{"AutoModel", "own.Model"}};
  config["_name_or_path"] = "/home/someone/model";
  dir.write("model/config.json", config.dump());
  StagedFolder output(dir.path() / "out", {source}, ExistingOutput::Refuse);
  const OnnxArtifact artifact = export_onnx(ModelFolder::open(source), {}, output, "", {});
  output.publish();
  CHECK(nlohmann::ordered_json::parse(read_file(dir.path() / "out/config.json")) == plain);
}

TEST_CASE("the exact graph differs in the accuracy levels only", "[onnx_export]") {
  const TempDir dir;
  onnx_ir::ModelProto model;
  model.set_ir_version(10);
  for (const auto& [op, level] : {std::pair{"MatMulNBits", 4}, {"MatMulNBits", 1}, {"Other", 4}}) {
    onnx_ir::NodeProto& node = *model.mutable_graph()->add_node();
    node.set_op_type(op);
    for (const auto& [name, value] : {std::pair{"bits", 8}, {"accuracy_level", level}}) {
      onnx_ir::AttributeProto& attribute = *node.add_attribute();
      attribute.set_name(name);
      attribute.set_type(onnx_ir::AttributeProto_AttributeType_INT);
      attribute.set_i(value);
    }
  }
  const std::filesystem::path graph = dir.write("model.onnx", model.SerializeAsString());
  write_exact_graph(graph, dir.path() / "exact.onnx");
  CHECK(read_file(graph) == model.SerializeAsString());
  model.mutable_graph()->mutable_node(0)->mutable_attribute(1)->set_i(0);
  model.mutable_graph()->mutable_node(1)->mutable_attribute(1)->set_i(0);
  CHECK(read_file(dir.path() / "exact.onnx") == model.SerializeAsString());
  std::filesystem::create_directory(dir.path() / "elsewhere");
  try {
    write_exact_graph(graph, dir.path() / "elsewhere/exact.onnx");
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == "X5");
  }
}
