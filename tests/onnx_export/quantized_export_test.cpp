#include <cstring>
#include <map>

#include <onnx_ir.pb.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "llama/checkpoint_writer.h"
#include "onnx_export/export_model.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

const std::filesystem::path kMiniLlama =
    std::filesystem::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama";

/// Codes, scales and zero points that differ from place to place and, by `seed`, from module to
/// module.
QuantizedMatrix made_matrix(MatrixShape shape, QuantScheme scheme, int seed) {
  const int levels = 1 << scheme.bits;
  const std::int64_t groups = shape.out_features * scheme.groups_per_row(shape.in_features);
  const auto code = [&](std::int64_t i) {
    return static_cast<std::int8_t>((i * 7 + i / levels + seed) % levels + scheme.qmin());
  };
  std::vector<std::int8_t> codes;
  for (std::int64_t i = 0; i < shape.out_features * shape.in_features; ++i)
    codes.push_back(code(i));
  std::vector<float> scales;
  std::vector<std::int8_t> zero_points;
  for (std::int64_t i = 0; i < groups; ++i) {
    scales.push_back(0.5F + static_cast<float>(i % 9973) / 8 + static_cast<float>(seed));
    if (scheme.symmetry == Symmetry::Asymmetric) zero_points.push_back(code(3 * i + 1));
  }
  return {shape.out_features, shape.in_features, scheme,
          std::move(codes),   std::move(scales), std::move(zero_points)};
}

/// mini-llama with made weights, written as edgecompress writes checkpoints. Returns the real
/// values by module.
std::map<std::string, std::vector<float>> write_checkpoint(const std::filesystem::path& folder,
                                                           QuantScheme scheme) {
  const ModelFolder source = ModelFolder::open(kMiniLlama);
  const LlamaConfig& config = source.config();
  std::map<std::string, std::vector<float>> real;
  int seed = 0;
  const auto make = [&](const std::string& module, MatrixShape shape) {
    QuantizedMatrix matrix = made_matrix(shape, scheme, ++seed);
    std::vector<float>& values = real[module];
    values.resize(static_cast<std::size_t>(shape.out_features * shape.in_features));
    matrix.dequantize_rows(0, shape.out_features, values);
    return matrix;
  };
  std::map<std::string, StoredForm, std::less<>> forms{
      {std::string(kEmbeddingModule), QuantizedForm{scheme}}};
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds)
      forms[module_name({block, kind})] = QuantizedForm{scheme};
  }
  StagedFolder staged(folder, {kMiniLlama}, ExistingOutput::Refuse);
  CheckpointWriter writer(staged, "", config, forms);
  writer.write_embedding(
      make(std::string(kEmbeddingModule), {config.vocab_size, config.hidden_size}));
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    std::map<LinearKind, WeightValue> weights;
    for (const LinearKind kind : kLinearKinds) {
      const LinearId id{block, kind};
      weights.emplace(kind, make(module_name(id), linear_shape(config, id)));
    }
    std::map<std::string, std::vector<float>> vectors;
    for (const std::string& norm : {input_norm_module(block), post_attention_norm_module(block)}) {
      vectors[norm + ".weight"] = source.vector(norm + ".weight");
    }
    writer.write_block(block, weights, vectors);
  }
  writer.write_head(source.vector("model.norm.weight"), nullptr);
  writer.finish(source);
  staged.publish();
  return real;
}

/// The tensors of an artifact by name.
class ArtifactTensors {
 public:
  explicit ArtifactTensors(const std::filesystem::path& folder)
      : data_(folder / "model.onnx.data") {
    const MappedFile graph(folder / "model.onnx");
    REQUIRE(model_.ParseFromArray(graph.bytes().data(), static_cast<int>(graph.bytes().size())));
    for (const auto& tensor : model_.graph().initializer()) tensors_[tensor.name()] = &tensor;
  }

  bool has(const std::string& name) const { return tensors_.contains(name); }
  std::vector<std::int64_t> dims(const std::string& name) const {
    return {tensors_.at(name)->dims().begin(), tensors_.at(name)->dims().end()};
  }
  std::span<const std::byte> bytes(const std::string& name) const {
    std::size_t offset = 0;
    std::size_t length = 0;
    for (const auto& entry : tensors_.at(name)->external_data()) {
      if (entry.key() == "offset") offset = std::stoull(entry.value());
      if (entry.key() == "length") length = std::stoull(entry.value());
    }
    if (length == 0) return std::as_bytes(std::span(tensors_.at(name)->raw_data()));
    return data_.bytes().subspan(offset, length);
  }
  std::vector<float> floats(const std::string& name) const {
    const std::span<const std::byte> from = bytes(name);
    std::vector<float> values(from.size() / sizeof(float));
    std::memcpy(values.data(), from.data(), from.size());
    return values;
  }

 private:
  MappedFile data_;
  onnx_ir::ModelProto model_;
  std::map<std::string, const onnx_ir::TensorProto*> tensors_;
};

int element(std::span<const std::byte> bytes, std::int64_t index, int bits) {
  const auto byte = std::to_integer<int>(bytes[static_cast<std::size_t>(index * bits / 8)]);
  return byte >> (index * bits % 8) & ((1 << bits) - 1);
}

int signed_element(std::span<const std::byte> bytes, std::int64_t index, int bits) {
  const int value = element(bytes, index, bits);
  return value >= 1 << (bits - 1) ? value - (1 << bits) : value;
}

/// The weight that MatMulNBits computes with, by its specification.
std::vector<float> nbits_values(const ArtifactTensors& tensors, const std::string& name,
                                std::int64_t columns, int bits) {
  const std::string codes = concat(name, "_Q", bits);
  const std::vector<std::int64_t> dims = tensors.dims(codes);
  const std::int64_t block = dims[2] * 8 / bits;
  const std::span<const std::byte> packed = tensors.bytes(codes);
  const bool asymmetric = tensors.has(name + "_zp");
  const std::span<const std::byte> zeros =
      asymmetric ? tensors.bytes(name + "_zp") : std::span<const std::byte>{};
  const std::vector<float> scales = tensors.floats(name + "_scales");
  const std::int64_t zeros_per_row = (dims[1] * bits + 7) / 8 * 8 / bits;
  std::vector<float> values;
  for (std::int64_t row = 0; row < dims[0]; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const std::int64_t at = column / block;
      const int zero =
          asymmetric ? element(zeros, row * zeros_per_row + at, bits) : 1 << (bits - 1);
      const int code = element(packed, row * dims[1] * block + column, bits);
      values.push_back(scales[static_cast<std::size_t>(row * dims[1] + at)] *
                       static_cast<float>(code - zero));
    }
  }
  return values;
}

/// The weight [out, in] that DequantizeLinear along axis 0 of [in, out] gives.
std::vector<float> dequantized_values(const ArtifactTensors& tensors, const std::string& name,
                                      int bits) {
  const std::vector<std::int64_t> dims = tensors.dims(name + "_quantized");
  const std::int64_t blocks = tensors.dims(name + "_scale")[0];
  const std::int64_t block = (dims[0] + blocks - 1) / blocks;
  const std::span<const std::byte> packed = tensors.bytes(name + "_quantized");
  const bool asymmetric = tensors.has(name + "_zero_point");
  const std::span<const std::byte> zeros =
      asymmetric ? tensors.bytes(name + "_zero_point") : std::span<const std::byte>{};
  const std::vector<float> scales = tensors.floats(name + "_scale");
  std::vector<float> values;
  for (std::int64_t row = 0; row < dims[1]; ++row) {
    for (std::int64_t column = 0; column < dims[0]; ++column) {
      const std::int64_t at = column / block * dims[1] + row;
      const int zero = asymmetric ? signed_element(zeros, at, bits) : 0;
      const int code = signed_element(packed, column * dims[1] + row, bits);
      values.push_back(scales[static_cast<std::size_t>(at)] * static_cast<float>(code - zero));
    }
  }
  return values;
}

std::vector<float> joined(const std::map<std::string, std::vector<float>>& real,
                          const std::string& block, std::initializer_list<const char*> modules) {
  std::vector<float> all;
  for (const char* module : modules) {
    const std::vector<float>& part = real.at(concat("model.layers.", block, ".", module));
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

// Comparisons stand in double parentheses: a failing one would print every value of a matrix
// otherwise.

TEST_CASE("every weight of a checkpoint that edgecompress wrote is exported value for value",
          "[onnx_export][property]") {
  const int bits = GENERATE(4, 8);
  const std::int64_t group_size = GENERATE(0, 32);
  const Symmetry symmetry = GENERATE(Symmetry::Symmetric, Symmetry::Asymmetric);
  const QuantScheme scheme{.bits = bits, .group_size = group_size, .symmetry = symmetry};
  CAPTURE(bits, group_size, symmetry == Symmetry::Symmetric);
  const TempDir dir;
  const auto real = write_checkpoint(dir.path() / "model", scheme);
  const ModelFolder model = ModelFolder::open(dir.path() / "model");
  const auto exported = [&](const OnnxFormat& format, const char* name) {
    StagedFolder staged(dir.path() / name, {model.path()}, ExistingOutput::Refuse);
    ExportOptions options;
    options.format = format;
    options.num_threads = 2;
    CHECK(export_onnx(model, options, staged, "", {}).warnings.empty());
    staged.publish();
    return ArtifactTensors(dir.path() / name);
  };

  const ArtifactTensors genai = exported(GenaiFormat{}, "genai");
  const std::string layer = "model.layers.2.";
  CHECK((nbits_values(genai, layer + "attn.qkv_proj.MatMul.weight", 256, bits) ==
         joined(real, "2", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"})));
  CHECK((nbits_values(genai, layer + "attn.o_proj.MatMul.weight", 256, bits) ==
         joined(real, "2", {"self_attn.o_proj"})));
  CHECK((nbits_values(genai, layer + "mlp.down_proj.MatMul.weight", 768, bits) ==
         joined(real, "2", {"mlp.down_proj"})));
  const std::vector<float>& table = real.at(std::string(kEmbeddingModule));
  CHECK((nbits_values(genai, "lm_head.MatMul.weight", 256, bits) == table));
  CHECK(genai.bytes(concat("model.embed_tokens.weight_Q", bits)).data() ==
        genai.bytes(concat("lm_head.MatMul.weight_Q", bits)).data());

  const ArtifactTensors standard = exported(StandardFormat{}, "standard");
  CHECK((dequantized_values(standard, layer + "attn.k_proj.MatMul.weight", bits) ==
         joined(real, "2", {"self_attn.k_proj"})));
  CHECK((dequantized_values(standard, layer + "mlp.down_proj.MatMul.weight", bits) ==
         joined(real, "2", {"mlp.down_proj"})));
  CHECK((dequantized_values(standard, "lm_head.MatMul.weight", bits) == table));
}

}  // namespace
}  // namespace edgecompress
