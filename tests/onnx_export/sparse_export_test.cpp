#include <algorithm>
#include <fstream>

#include <nlohmann/json.hpp>

#include "contains.h"
#include "made_checkpoint.h"
#include "panel_sparse/panel_sparse_matrix.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

// Each pattern mixes row and column so that no two panels keep the same columns.
bool keep_16x4(std::int64_t row, std::int64_t column) {
  return (row / 16 * 3 + column / 4 * 5) % 7 < 3;
}
bool keep_16x1(std::int64_t row, std::int64_t column) {
  return (row / 16 * 3 + column * 5) % 7 < 3;
}
bool keep_8x1(std::int64_t row, std::int64_t column) { return (row / 8 * 3 + column * 5) % 7 < 3; }
bool keep_4x1(std::int64_t row, std::int64_t column) { return (row / 4 * 3 + column * 5) % 7 < 3; }
bool keep_any(std::int64_t row, std::int64_t column) { return (row * 3 + column * 5) % 7 < 3; }

constexpr QuantScheme kScheme{.bits = 4, .group_size = 64};

/// Exports of one made checkpoint.
class Exports {
 public:
  explicit Exports(KeepRule keep, QuantScheme scheme = kScheme) {
    real_ = write_checkpoint(dir_.path() / "model", scheme, keep);
    dir_.write("ops.so", "the operator library");
  }

  ExportOptions sparse() const {
    ExportOptions options;
    options.sparse = SparseOptions{.operator_library = dir_.path() / "ops.so"};
    return options;
  }
  OnnxArtifact write(const std::string& name, const ExportOptions& options) const {
    const ModelFolder model = ModelFolder::open(dir_.path() / "model");
    StagedFolder staged(folder(name), {model.path()}, ExistingOutput::Refuse);
    OnnxArtifact artifact = export_onnx(model, options, staged, "", {});
    staged.publish();
    return artifact;
  }
  std::filesystem::path folder(const std::string& name) const { return dir_.path() / name; }
  const std::vector<float>& real(const std::string& module) const { return real_.at(module); }

 private:
  TempDir dir_;
  std::map<std::string, std::vector<float>> real_;
};

const ProductStorage& product_of(const OnnxArtifact& artifact, const std::string& module) {
  const auto found =
      std::ranges::find_if(artifact.products, [&](const auto& p) { return p.module == module; });
  REQUIRE(found != artifact.products.end());
  return *found;
}

const std::string kDown = "model.layers.1.mlp.down_proj";
const std::string kDownBlob = kDown + ".MatMul.weight_sparse";

std::span<const std::uint8_t> blob_of(const ArtifactTensors& tensors, const std::string& name) {
  const std::span<const std::byte> bytes = tensors.bytes(name);
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

/// [rows, columns]
std::vector<float> values_of(std::span<const std::uint8_t> blob) {
  const PanelSparseView view = open_panel_sparse(blob);
  const DenseCodes dense = unpack_panel_sparse(view);
  const std::int64_t per_scale = view.form.group * view.form.groups_per_scale;
  std::vector<float> values;
  for (std::int64_t row = 0; row < view.rows; ++row) {
    for (std::int64_t column = 0; column < view.columns; ++column) {
      const std::int64_t scale = row * view.scale_groups + column / per_scale;
      values.push_back(dense.scales[static_cast<std::size_t>(scale)] *
                       dense.codes[static_cast<std::size_t>(row * view.columns + column)]);
    }
  }
  return values;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("a sparse product holds the checkpoint's values, q, k and v below each other",
          "[onnx_export][property]") {
  const int bits = GENERATE(4, 8);
  const std::int64_t group_size = GENERATE(0, 64);
  CAPTURE(bits, group_size);
  const Exports exports(keep_16x1, {.bits = bits, .group_size = group_size});
  exports.write("out", exports.sparse());
  const ArtifactTensors tensors(exports.folder("out"));
  CHECK((values_of(blob_of(tensors, kDownBlob)) == exports.real(kDown)));
  std::vector<float> qkv;
  for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
    const std::vector<float>& more = exports.real(concat("model.layers.2.self_attn.", part));
    qkv.insert(qkv.end(), more.begin(), more.end());
  }
  CHECK((values_of(blob_of(tensors, "model.layers.2.attn.qkv_proj.MatMul.weight_sparse")) == qkv));
}

TEST_CASE("a mask is stored in the form it was made for", "[onnx_export]") {
  const auto [keep, form] = GENERATE(table<KeepRule, const char*>({{keep_16x4, "16x4"},
                                                                   {keep_16x1, "16x1"},
                                                                   {keep_8x1, "8x1"},
                                                                   {keep_4x1, "4x1"},
                                                                   {keep_any, "unstructured"}}));
  const Exports exports(keep);
  const OnnxArtifact artifact = exports.write("out", exports.sparse());
  const ProductStorage& down = product_of(artifact, kDown);
  CHECK(down.form == form);
  CHECK(contains(down.reason, concat(form, " leaves out 5")));
  // Of the kept weights one in 16 has the code 0 by itself, whole columns of a panel at a time: all
  // forms but 16x4, which stores three other columns with it, leave these out too.
  CHECK(down.stored_share ==
        Approx(form == std::string("16x4") ? 3.0 / 7 : 3.0 / 7 * 15 / 16).margin(0.01));
  CHECK(down.zero_share == Approx(1 - 3.0 / 7 * 15 / 16).margin(0.01));
  const ArtifactTensors tensors(exports.folder("out"));
  CHECK(down.bytes == static_cast<std::int64_t>(tensors.bytes(kDownBlob).size()));
  CHECK(down.weights == static_cast<std::int64_t>(exports.real(kDown).size()));
}

TEST_CASE("what the format cannot hold or does not pay stays dense, for a stated reason",
          "[onnx_export]") {
  const auto [scheme, keep, reason] = GENERATE(table<QuantScheme, KeepRule, const char*>(
      {{kScheme, keep_all, "pays from"},
       {{.bits = 4, .group_size = 64, .symmetry = Symmetry::Asymmetric}, keep_16x4, "asymmetric"},
       {{.bits = 8, .group_size = 16}, keep_16x4, "groups of 16"}}));
  const Exports exports(keep, scheme);
  const OnnxArtifact artifact = exports.write("out", exports.sparse());
  REQUIRE(artifact.products.size() == 4 * 5);  // blocks; qkv, o, gate, up, down
  for (const ProductStorage& product : artifact.products) {
    CHECK(product.form == "dense");
    CHECK(contains(product.reason, reason));
    CHECK(product.bytes > 0);
  }
  REQUIRE(artifact.warnings.size() == 1);
  CHECK(contains(artifact.warnings.front(), "no matrix is stored sparse"));
  CHECK_FALSE(needs_operator_library(exports.folder("out") / "model.onnx"));
  CHECK_FALSE(std::filesystem::exists(exports.folder("out") / kOperatorLibrary));
}

TEST_CASE("a threshold of the caller's replaces the measured ones", "[onnx_export]") {
  const Exports exports(keep_16x4);
  ExportOptions options = exports.sparse();
  options.sparse->threshold = 0.6;
  CHECK(product_of(exports.write("above", options), kDown).form == "dense");
  options.sparse->threshold = 0.55;
  CHECK(product_of(exports.write("below", options), kDown).form == "16x4");
  options.sparse->threshold = 1.5;
  CHECK_THROWS_AS(exports.write("beyond", options), Error);
}

TEST_CASE("the operator library lies beside the graph, and genai_config.json names it",
          "[onnx_export]") {
  const Exports exports(keep_16x4);
  const OnnxArtifact artifact = exports.write("out", exports.sparse());
  const std::filesystem::path folder = exports.folder("out");
  CHECK(text_of(folder / "libedgecompress_ops.so") == "the operator library");
  CHECK(artifact.file_sha256.contains("libedgecompress_ops.so"));
  const auto config = nlohmann::json::parse(text_of(folder / "genai_config.json"));
  CHECK(config["model"]["decoder"]["session_options"]["custom_ops_library"] ==
        "libedgecompress_ops.so");
  CHECK(needs_operator_library(folder / "model.onnx"));
}

TEST_CASE("scales of 16 bits are rounded and take half the bytes", "[onnx_export]") {
  const Exports exports(keep_16x4);
  ExportOptions options = exports.sparse();
  const std::int64_t exact = product_of(exports.write("exact", options), kDown).bytes;
  options.sparse->scale_type = ScaleType::Float16;
  const std::int64_t rounded = product_of(exports.write("rounded", options), kDown).bytes;
  const std::int64_t scales = static_cast<std::int64_t>(exports.real(kDown).size()) / 64;
  CHECK(exact - rounded == 2 * scales);
  const ArtifactTensors tensors(exports.folder("rounded"));
  const std::vector<float> found = values_of(blob_of(tensors, kDownBlob));
  const std::vector<float>& real = exports.real(kDown);
  bool near = true;
  for (std::size_t i = 0; i < real.size(); ++i) {
    near = near && std::abs(found[i] - real[i]) <= std::abs(real[i]) * 0x1p-11F;
  }
  CHECK(near);
  CHECK((found != real));
}

TEST_CASE("the same sparse artifact is written on any number of threads", "[onnx_export]") {
  const Exports exports(keep_any);
  ExportOptions options = exports.sparse();
  const OnnxArtifact one = exports.write("one", options);
  options.num_threads = 3;
  CHECK(exports.write("three", options).file_sha256 == one.file_sha256);
}

TEST_CASE("the standard format takes sparse products too", "[onnx_export]") {
  const Exports exports(keep_16x4);
  ExportOptions options = exports.sparse();
  options.format = StandardFormat{};
  exports.write("out", options);
  const ArtifactTensors tensors(exports.folder("out"));
  CHECK((values_of(blob_of(tensors, kDownBlob)) == exports.real(kDown)));
  CHECK(tensors.has("lm_head.MatMul.weight_quantized"));
}

TEST_CASE("a sparse artifact whose data file was changed is refused", "[onnx_export]") {
  const Exports exports(keep_16x4);
  exports.write("out", exports.sparse());
  const std::filesystem::path graph = exports.folder("out") / "model.onnx";
  const std::filesystem::path data = exports.folder("out") / "model.onnx.data";
  std::int64_t blob = 0;
  {
    const MappedFile file(data);
    const std::span<const std::byte> bytes = file.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    blob = static_cast<std::int64_t>(text.find("ECPANEL\n"));
  }
  const PanelSparseForm form{.bits = 4, .shared_rows = 16, .column_block = 4, .group = 64};
  // The first blob is qkv of block 0: its starts follow the header, its bitmaps those.
  const std::int64_t rows =
      static_cast<std::int64_t>(exports.real("model.layers.0.self_attn.q_proj").size() +
                                2 * exports.real("model.layers.0.self_attn.k_proj").size()) /
      256;
  const std::int64_t starts = blob + 64;
  const std::int64_t bitmaps = blob + 64 + (8 * (rows / 16 + 1) + 63) / 64 * 64;
  CHECK(panel_sparse_bytes(form, rows, 256, 0) > bitmaps - blob);
  const auto [what, at, bits, code] =
      GENERATE_COPY(table<const char*, std::int64_t, int, const char*>({
          {"the magic number", blob, 0x20, "B01"},
          {"the version", blob + 8, 0x02, "B02"},
          {"a start", starts + 8, 0x01, "B01"},
          {"a bitmap", bitmaps, 0x01, "B01"},
      }));
  CAPTURE(what);
  REQUIRE_NOTHROW(validate_onnx_folder(graph));
  std::fstream file(data, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char damaged = static_cast<char>(file.get() ^ bits);
  file.seekp(at);
  file.put(damaged);
  file.close();
  try {
    validate_onnx_folder(graph);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == code);
    CHECK(contains(error.what(), "opening the weights of node"));
  }
}

TEST_CASE("a node of our domain that does not fit its weights is refused", "[onnx_export]") {
  const Exports exports(keep_16x4);
  exports.write("out", exports.sparse());
  const std::filesystem::path graph = exports.folder("out") / "model.onnx";
  onnx_ir::ModelProto model;
  REQUIRE(model.ParseFromString(text_of(graph)));
  onnx_ir::NodeProto* node = nullptr;
  for (onnx_ir::NodeProto& each : *model.mutable_graph()->mutable_node()) {
    if (each.op_type() == "PanelSparseMatMul") node = &each;
  }
  REQUIRE(node != nullptr);
  std::string words;
  SECTION("another operator") {
    node->set_op_type("PanelSparseMatMul2");
    words = "is a PanelSparseMatMul2";
  }
  SECTION("another width") {
    node->mutable_attribute(0)->set_i(700);
    words = "but its weights are";
  }
  SECTION("an attribute that is missing") {
    node->mutable_attribute(1)->set_name("M");
    words = "has no attribute N";
  }
  SECTION("weights that the graph computes") {
    node->set_input(1, node->input(0));
    words = "from an initializer of UINT8";
  }
  std::ofstream(graph, std::ios::binary) << model.SerializeAsString();
  try {
    validate_onnx_folder(graph);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == "O14");
    CHECK(contains(error.what(), words));
  }
}

}  // namespace edgecompress
