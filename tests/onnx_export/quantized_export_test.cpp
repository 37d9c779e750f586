#include "made_checkpoint.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

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
