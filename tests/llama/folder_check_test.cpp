#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>

#include <sys/stat.h>

#include "base/staged_output.h"
#include "checkpoint/safetensors.h"
#include "llama/model_folder.h"
#include "support/catch.h"
#include "support/refusal.h"
#include "support/temp_dir.h"
#include "tiny_model.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const ModelFolder& source_model() {
  static const ModelFolder model =
      ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  return model;
}

struct Tensor {
  DType dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};
using Tensors = std::map<std::string, Tensor>;

/// A model folder as a test can bend it: its config.json and its tensors.
struct Parts {
  Json config;
  Tensors tensors;
};

/// What CheckpointWriter writes for the tiny model in this form.
Parts parts_of(bool tied, const StoredForm& form) {
  const TempDir temp;
  Json document = tiny_config();
  document["tie_word_embeddings"] = tied;
  const LlamaConfig config = parse_llama_config(document.dump(), "config.json");
  const fs::path folder = temp.path() / "m";
  write_random_model(folder, config, all_forms(config, form), source_model());
  Parts parts{Json::parse(read_text_file(folder / "config.json", 1 << 20)), {}};
  const TensorStore store = TensorStore::open(folder);
  for (const auto& [name, entry] : store.tensors()) {
    const auto* const first = reinterpret_cast<const char*>(entry.bytes.data());
    parts.tensors[name] = {entry.dtype, entry.shape, std::string(first, entry.bytes.size())};
  }
  return parts;
}

fs::path write(const TempDir& temp, const Parts& parts) {
  const fs::path folder = temp.path() / "model";
  StagedFolder staged(folder, {}, ExistingOutput::Refuse);
  std::vector<TensorHeader> headers;
  for (const auto& [name, tensor] : parts.tensors)
    headers.push_back({name, tensor.dtype, tensor.shape});
  SafetensorsWriter writer(staged, "model.safetensors", headers, {});
  for (const auto& [name, tensor] : parts.tensors) {
    writer.append(name, std::as_bytes(std::span(tensor.bytes)));
  }
  writer.close();
  staged.write("config.json", parts.config.dump());
  staged.publish();
  return folder;
}

std::optional<Refusal> refused(const Parts& parts) {
  const TempDir temp;
  const fs::path folder = write(temp, parts);
  return refusal_of([&] { ModelFolder::open(folder); });
}

struct Lie {
  std::string code;
  std::string words;
  std::function<void(Parts&)> bend;
};

void check_lies(const Parts& good, const std::vector<Lie>& lies) {
  REQUIRE_FALSE(refused(good).has_value());
  for (const Lie& lie : lies) {
    INFO("expected " << lie.code << " with \"" << lie.words << "\"");
    Parts bent = good;
    lie.bend(bent);
    const auto refusal = refused(bent);
    REQUIRE(refusal.has_value());
    INFO(refusal->message);
    CHECK(refusal->code == lie.code);
    CHECK(refusal->says(lie.words));
  }
}

const std::string kUp = "model.layers.1.mlp.up_proj.weight";

TEST_CASE("tensors that do not fit config.json are listed", "[llama]") {
  check_lies(
      parts_of(false, FloatForm{DType::F32}),
      {{"C10", kUp + ": expected [48, 32], found nothing", [](Parts& p) { p.tensors.erase(kUp); }},
       {"C10", kUp + ": expected [48, 32], found [32, 48]",
        [](Parts& p) { p.tensors[kUp].shape = {32, 48}; }},
       {"C10", "model.embed_tokens.weight: expected [41, 32], found [40, 32]",
        [](Parts& p) { p.config["vocab_size"] = 41; }},
       {"C10", "model.layers.2.self_attn.q_proj.weight: expected [32, 32], found nothing",
        [](Parts& p) { p.config["num_hidden_layers"] = 3; }},
       {"C10", "model.layers.1.input_layernorm.weight: expected nothing of that name, found [32]",
        [](Parts& p) { p.config["num_hidden_layers"] = 1; }},
       {"C10", "self_attn.q_proj.bias: expected nothing",
        [](Parts& p) {
          p.tensors["model.layers.0.self_attn.q_proj.bias"] = {
              DType::F32, {1}, std::string(4, 'x')};
        }},
       {"C10", "mlp.gate_proj.bias: expected [48], found nothing",
        [](Parts& p) { p.config["mlp_bias"] = true; }},
       {"C10", "expected F32 or F16 or BF16, found I32",
        [](Parts& p) { p.tensors[kUp].dtype = DType::I32; }},
       {"C11", "has no lm_head.weight", [](Parts& p) { p.tensors.erase("lm_head.weight"); }},
       {"C11", "with different values", [](Parts& p) { p.config["tie_word_embeddings"] = true; }},
       {"C12", "weights are BF16", [](Parts& p) {
          p.config["dtype"] = "bfloat16";
          p.config["torch_dtype"] = "bfloat16";
        }}});
}

TEST_CASE("of many differences the first 20 are shown and all are counted", "[llama]") {
  Parts parts = parts_of(false, FloatForm{DType::F32});
  parts.config["hidden_size"] = 64;
  const auto refusal = refused(parts);
  REQUIRE(refusal.has_value());
  // 7 matrices and 2 norms in each of 2 blocks, the final norm, the embedding and the head
  CHECK(refusal->says("(21 differences)"));
  CHECK(refusal->says("... and 1 more"));
  CHECK(std::count(refusal->message.begin(), refusal->message.end(), '\n') == 21);
}

TEST_CASE("a tied table may be stored under either name, or under both alike", "[llama]") {
  Parts parts = parts_of(true, FloatForm{DType::F32});
  const Tensor table = parts.tensors.at("model.embed_tokens.weight");
  SECTION("the embedding's") {}
  SECTION("the head's") {
    parts.tensors.erase("model.embed_tokens.weight");
    parts.tensors["lm_head.weight"] = table;
  }
  SECTION("both") { parts.tensors["lm_head.weight"] = table; }
  const TempDir temp;
  const ModelFolder model = ModelFolder::open(write(temp, parts));
  CHECK(model.head_is_embedding());
  for (const char* const module : {"model.embed_tokens", "lm_head"}) {
    std::vector<float> row(32);
    read_rows(model.matrix(module), 7, 8, row);
    CHECK(std::memcmp(row.data(), table.bytes.data() + 7 * 32 * 4, 32 * 4) == 0);
  }
}

TEST_CASE("untied tables with the same bytes are recognised", "[llama]") {
  Parts parts = parts_of(false, FloatForm{DType::F32});
  const TempDir different;
  CHECK_FALSE(ModelFolder::open(write(different, parts)).head_is_embedding());
  parts.tensors["lm_head.weight"] = parts.tensors["model.embed_tokens.weight"];
  const TempDir same;
  CHECK(ModelFolder::open(write(same, parts)).head_is_embedding());
}

TEST_CASE("the rotary buffers of old checkpoints are ignored", "[llama]") {
  Parts parts = parts_of(false, FloatForm{DType::F32});
  parts.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {DType::F32, {1}, "abcd"};
  CHECK_FALSE(refused(parts).has_value());
}

TEST_CASE("a quantized folder that contradicts its quantization_config is refused", "[llama]") {
  const std::string module = "model.layers.0.mlp.down_proj";
  check_lies(
      parts_of(false, QuantizedForm{{4, 16, Symmetry::Symmetric}}),
      {{"C10", ".weight_packed: expected [32, 6], found nothing",
        [&](Parts& p) { p.tensors.erase(module + ".weight_packed"); }},
       {"C10", ".weight_scale: expected [32, 3], found [3, 32]",
        [&](Parts& p) { p.tensors[module + ".weight_scale"].shape = {3, 32}; }},
       {"C10", ".weight_shape: expected the values [32, 48], found [32, 49]",
        [&](Parts& p) { p.tensors[module + ".weight_shape"].bytes[8] = 49; }},
       {"C10", ".weight_zero_point: expected nothing",
        [&](Parts& p) { p.tensors[module + ".weight_zero_point"] = {DType::I8, {1}, "x"}; }},
       {"C10", "expected I32, found F32",
        [&](Parts& p) { p.tensors[module + ".weight_packed"].dtype = DType::F32; }},
       {"C15", "weight_g_idx",
        [&](Parts& p) { p.tensors[module + ".weight_g_idx"] = {DType::I32, {1}, "abcd"}; }},
       {"C16", "groups of 20, which do not divide its rows of 32",
        [](Parts& p) {
          for (auto& [name, group] : p.config["quantization_config"]["config_groups"].items()) {
            group["weights"]["group_size"] = 20;
          }
        }},
       {"C10", ".weight: expected [48, 32], found nothing",
        [](Parts& p) { p.config.erase("quantization_config"); }}});
}

TEST_CASE("a tied quantized table whose two grids differ is refused", "[llama]") {
  check_lies(parts_of(true, QuantizedForm{{8, 8, Symmetry::Asymmetric}}),
             {{"C11", "lm_head.weight_scale",
               [](Parts& p) { p.tensors["lm_head.weight_scale"].bytes[5] ^= 1; }},
              {"C11", "lm_head.weight_zero_point",
               [](Parts& p) { p.tensors["lm_head.weight_zero_point"].bytes[5] ^= 1; }}});
}

/// Moves the module's codes of a 4-bit asymmetric folder into the packed layout of
/// compressed-tensors.
void pack_module(Parts& parts, const std::string& module, const QuantizedMatrix& matrix) {
  const std::int64_t rows = matrix.rows();
  const std::int64_t groups = matrix.scheme().groups_per_row(matrix.columns());
  std::string codes(static_cast<std::size_t>(rows * matrix.columns() / 2), '\0');
  for (std::size_t i = 0; i < matrix.codes().size(); ++i) {
    codes[i / 2] = static_cast<char>(codes[i / 2] | (matrix.codes()[i] + 8) << (4 * (i % 2)));
  }
  // 8 rows of zero points in a word, the lowest bits first
  std::string zeros(static_cast<std::size_t>((rows + 7) / 8 * groups * 4), '\0');
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t group = 0; group < groups; ++group) {
      const auto byte = static_cast<std::size_t>((row / 8 * groups + group) * 4 + row % 8 / 2);
      const int zero = matrix.zero_points()[static_cast<std::size_t>(row * groups + group)] + 8;
      zeros[byte] = static_cast<char>(zeros[byte] | zero << (4 * (row % 2)));
    }
  }
  std::string shape(8, '\0');
  shape[0] = static_cast<char>(rows);
  shape[4] = static_cast<char>(matrix.columns());
  parts.tensors.erase(module + ".weight");
  parts.tensors[module + ".weight_packed"] = {DType::I32, {rows, matrix.columns() / 8}, codes};
  parts.tensors[module + ".weight_shape"] = {DType::I32, {2}, shape};
  parts.tensors[module + ".weight_zero_point"] = {DType::I32, {(rows + 7) / 8, groups}, zeros};
}

TEST_CASE("packed zero points of other writers are read, rows in any cut", "[llama]") {
  const QuantScheme scheme{4, 8, Symmetry::Asymmetric};
  Parts parts = parts_of(false, QuantizedForm{scheme});
  const std::string module = "model.layers.0.mlp.down_proj";
  const QuantizedMatrix matrix = random_quantized({32, 48}, scheme, 9);
  pack_module(parts, module, matrix);
  std::string scales(reinterpret_cast<const char*>(matrix.scales().data()),
                     matrix.scales().size_bytes());
  parts.tensors[module + ".weight_scale"].bytes = scales;
  parts.config["quantization_config"]["config_groups"]["packed"] = {
      {"targets", {module}},
      {"format", "pack-quantized"},
      {"weights",
       {{"num_bits", 4}, {"symmetric", false}, {"strategy", "group"}, {"group_size", 8}}}};
  const TempDir temp;
  const ModelFolder model = ModelFolder::open(write(temp, parts));
  const auto stored = std::get<StoredQuantizedMatrix>(model.matrix(module));
  for (const auto& [begin, end] : {std::pair(0, 32), std::pair(5, 6), std::pair(13, 29)}) {
    const QuantizedMatrix rows = read_quantized_rows(stored, begin, end);
    std::vector<float> found(static_cast<std::size_t>((end - begin) * 48));
    std::vector<float> expected(found.size());
    rows.dequantize_rows(0, end - begin, found);
    matrix.dequantize_rows(begin, end, expected);
    CHECK(found == expected);
  }
}

TEST_CASE("zero points of blocks are never packed", "[llama]") {
  const QuantScheme scheme{4, 8, Symmetry::Asymmetric};
  Parts parts = parts_of(false, QuantizedForm{scheme});
  const std::string module = "model.layers.0.mlp.down_proj";
  const Tensor plain_zeros = parts.tensors.at(module + ".weight_zero_point");
  pack_module(parts, module, random_quantized({32, 48}, scheme, 9));
  const Tensor packed_zeros =
      std::exchange(parts.tensors.at(module + ".weight_zero_point"), plain_zeros);
  parts.config["quantization_config"]["config_groups"]["packed"] = {
      {"targets", {module}},
      {"format", "pack-quantized"},
      {"weights",
       {{"num_bits", 4},
        {"symmetric", false},
        {"strategy", "block"},
        {"block_structure", {1, 8}}}}};
  CHECK_FALSE(refused(parts).has_value());
  check_lies(parts, {{"C10", ".weight_zero_point: expected [32, 6], found [4, 6]",
                      [&](Parts& p) { p.tensors[module + ".weight_zero_point"] = packed_zeros; }}});
}

TEST_CASE("codes and scales that no grid has are refused when they are read", "[llama]") {
  const QuantScheme scheme{4, 8, Symmetry::Asymmetric};
  const std::string module = "model.layers.0.mlp.down_proj";
  Parts parts = parts_of(false, QuantizedForm{scheme});
  std::string words;
  SECTION("a code of 8 in 4 bits") {
    parts.tensors[module + ".weight"].bytes[77] = 8;
    words = "holds the code 8";
  }
  SECTION("a zero point of -9 in 4 bits") {
    parts.tensors[module + ".weight_zero_point"].bytes[7] = -9;
    words = "holds the code -9";
  }
  SECTION("a scale that is infinite") {
    const float infinity = std::numeric_limits<float>::infinity();
    std::memcpy(parts.tensors[module + ".weight_scale"].bytes.data() + 12, &infinity, 4);
    words = "not finite";
  }
  const TempDir temp;
  const ModelFolder model = ModelFolder::open(write(temp, parts));
  const auto refusal = refusal_of(
      [&] { read_quantized_rows(std::get<StoredQuantizedMatrix>(model.matrix(module)), 0, 32); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "C16");
  CHECK(refusal->says(words));
}

TEST_CASE("a group whose scale is 0 reads as zeros", "[llama]") {
  const QuantScheme scheme{4, 8, Symmetry::Asymmetric};
  const std::string module = "model.layers.0.mlp.down_proj";
  Parts parts = parts_of(false, QuantizedForm{scheme});
  std::memset(parts.tensors[module + ".weight_scale"].bytes.data() + 4 * 7, 0,
              4);  // row 1, group 1 of 6
  const TempDir temp;
  const ModelFolder model = ModelFolder::open(write(temp, parts));
  std::vector<float> row(48);
  read_rows(model.matrix(module), 1, 2, row);
  for (std::size_t i = 8; i < 16; ++i) CHECK(row[i] == 0);
  CHECK(std::count(row.begin(), row.end(), 0.0F) < 24);
}

TEST_CASE("a folder without a readable config.json is refused", "[llama]") {
  const TempDir temp;
  SECTION("absent") {
    const auto refusal = refusal_of([&] { ModelFolder::open(temp.path()); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->kind == ErrorKind::Missing);
    CHECK(refusal->says("config.json"));
  }
  SECTION("a pipe") {
    REQUIRE(::mkfifo((temp.path() / "config.json").c_str(), 0600) == 0);
    const auto refusal = refusal_of([&] { ModelFolder::open(temp.path()); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->kind == ErrorKind::Missing);
  }
  SECTION("a link out of the folder") {
    const TempDir other;
    other.write("config.json", tiny_config().dump());
    fs::create_symlink(other.path() / "config.json", temp.path() / "config.json");
    const auto refusal = refusal_of([&] { ModelFolder::open(temp.path()); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->code == "I7");
  }
}

}  // namespace
}  // namespace edgecompress
