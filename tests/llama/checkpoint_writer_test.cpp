#include "llama/checkpoint_writer.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/float16.h"
#include "llama/model_folder.h"
#include "llama/quantization_config.h"
#include "llama/weight_layout.h"
#include "support/catch.h"
#include "support/refusal.h"
#include "support/temp_dir.h"
#include "tiny_model.h"

namespace edgecompress {
namespace {

const ModelFolder& source_model() {
  static const ModelFolder model =
      ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  return model;
}

LlamaConfig tiny(bool tied) {
  nlohmann::ordered_json document = tiny_config();
  document["tie_word_embeddings"] = tied;
  return parse_llama_config(document.dump(), "config.json");
}

std::vector<float> real_values(const WeightValue& value) {
  if (const auto* const floats = std::get_if<std::vector<float>>(&value)) return *floats;
  const auto& matrix = std::get<QuantizedMatrix>(value);
  std::vector<float> out(static_cast<std::size_t>(matrix.rows() * matrix.columns()));
  matrix.dequantize_rows(0, matrix.rows(), out);
  return out;
}

std::vector<float> stored_values(const ModelFolder& model, const std::string& module) {
  const StoredMatrix stored = model.matrix(module);
  const MatrixShape shape = matrix_shape(stored);
  std::vector<float> out(static_cast<std::size_t>(shape.out_features * shape.in_features));
  // in two parts, so that reading from the middle is seen too; 3 is inside a word of packed zero
  // points
  const auto split = static_cast<std::size_t>(3 * shape.in_features);
  read_rows(stored, 0, 3, std::span(out).first(split));
  read_rows(stored, 3, shape.out_features, std::span(out).subspan(split));
  return out;
}

std::string file_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_CASE("what is written in any form reads back value for value", "[llama][property]") {
  const int bits = GENERATE(4, 8);
  const std::int64_t group_size = GENERATE(0, 8);
  const Symmetry symmetry = GENERATE(Symmetry::Symmetric, Symmetry::Asymmetric);
  const bool tied = GENERATE(true, false);
  const TempDir temp;
  const LlamaConfig config = tiny(tied);
  const StoredForm form = QuantizedForm{{bits, group_size, symmetry}};
  const WrittenModel written =
      write_random_model(temp.path() / "out", config, all_forms(config, form), source_model());
  const ModelFolder model = ModelFolder::open(temp.path() / "out");
  CHECK(model.is_quantized());
  CHECK(model.head_is_embedding() == tied);
  REQUIRE(written.weights.size() == (tied ? 15 : 16));
  for (const auto& [module, value] : written.weights) {
    INFO(module);
    CHECK(stored_values(model, module) == real_values(value));
    const StoredMatrix stored = model.matrix(module);
    CHECK(std::get<StoredQuantizedMatrix>(stored).scheme == std::get<QuantizedForm>(form).scheme);
  }
}

TEST_CASE("modules of one model may have different forms", "[llama]") {
  const TempDir temp;
  const LlamaConfig config = tiny(false);
  const StoredForm packed4 = QuantizedForm{{4, 16, Symmetry::Symmetric}};
  const StoredForm plain8 = QuantizedForm{{8, 0, Symmetry::Asymmetric}};
  Forms forms = all_forms(config, packed4);
  forms["model.layers.1.mlp.down_proj"] = plain8;
  forms["model.layers.0.self_attn.o_proj"] = FloatForm{DType::F32};
  forms["lm_head"] = QuantizedForm{{8, 32, Symmetry::Symmetric}};
  forms["model.embed_tokens"] = FloatForm{DType::F32};
  const WrittenModel written =
      write_random_model(temp.path() / "out", config, forms, source_model());
  const ModelFolder model = ModelFolder::open(temp.path() / "out");
  for (const auto& [module, value] : written.weights) {
    INFO(module);
    CHECK(stored_values(model, module) == real_values(value));
    const bool floats = std::holds_alternative<FloatMatrix>(model.matrix(module));
    CHECK(floats == std::holds_alternative<FloatForm>(forms.find(module)->second));
  }
}

TEST_CASE("floats are rounded to the form's type and config.json names it", "[llama]") {
  const auto dtype = GENERATE(DType::F16, DType::BF16);
  const TempDir temp;
  const LlamaConfig config = tiny(false);
  const WrittenModel written = write_random_model(
      temp.path() / "out", config, all_forms(config, FloatForm{dtype}), source_model());
  const ModelFolder model = ModelFolder::open(temp.path() / "out");
  CHECK(model.config().dtype == dtype);
  for (const auto& [module, value] : written.weights) {
    std::vector<float> expected = real_values(value);
    for (float& v : expected) {
      v = dtype == DType::F16 ? half_to_float(float_to_half(v))
                              : bfloat16_to_float(float_to_bfloat16(v));
    }
    CHECK(stored_values(model, module) == expected);
  }
}

TEST_CASE("a code equal to the zero point reads back as exactly 0", "[llama]") {
  const TempDir temp;
  const LlamaConfig config = tiny(false);
  const QuantScheme scheme{4, 8, Symmetry::Asymmetric};
  const WrittenModel written = write_random_model(
      temp.path() / "out", config, all_forms(config, QuantizedForm{scheme}), source_model());
  const ModelFolder model = ModelFolder::open(temp.path() / "out");
  const auto& matrix = std::get<QuantizedMatrix>(written.weights.at("model.layers.1.mlp.up_proj"));
  const std::vector<float> values = stored_values(model, "model.layers.1.mlp.up_proj");
  int zeros = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool zero = matrix.codes()[i] == matrix.zero_points()[i / 8];
    zeros += zero ? 1 : 0;
    CHECK((values[i] == 0) == zero);
  }
  CHECK(zeros > 0);
}

TEST_CASE("a quantized tied table is stored once", "[llama]") {
  const TempDir temp;
  const StoredForm form = QuantizedForm{{8, 0, Symmetry::Symmetric}};
  const LlamaConfig config = tiny(true);
  write_random_model(temp.path() / "out", config, all_forms(config, form), source_model());
  const ModelFolder model = ModelFolder::open(temp.path() / "out");
  CHECK(model.store().find("lm_head.weight") == nullptr);
  CHECK(model.store().find("lm_head.weight_scale") != nullptr);
  CHECK(model.store().get("model.embed_tokens.weight").bytes.size() == 40 * 32);
  // without a scheme of its own transformers would take the table's integers for the head's weights
  const auto quantization = QuantizationConfig::parse(model.config().document, "config.json");
  REQUIRE(quantization.has_value());
  const auto head = quantization->find("lm_head", "Linear");
  REQUIRE(head.has_value());
  CHECK(head->scheme == std::get<QuantizedForm>(form).scheme);
  CHECK(head->layout == QuantizedLayout::Plain);
}

TEST_CASE("the same model gives the same bytes, and the returned hashes are theirs", "[llama]") {
  const TempDir temp;
  const LlamaConfig config = tiny(false);
  const Forms forms = all_forms(config, QuantizedForm{{4, 8, Symmetry::Asymmetric}});
  const WrittenModel first =
      write_random_model(temp.path() / "a", config, forms, source_model(), 5);
  const WrittenModel second =
      write_random_model(temp.path() / "b", config, forms, source_model(), 5);
  const WrittenModel other =
      write_random_model(temp.path() / "c", config, forms, source_model(), 6);
  CHECK(first.hashes == second.hashes);
  CHECK(first.hashes != other.hashes);
  REQUIRE(first.hashes.contains("model-00003-of-00004.safetensors"));
  for (const auto& [name, hash] : first.hashes) {
    INFO(name);
    const std::string text = file_text(temp.path() / "a" / name);
    CHECK(sha256_hex(std::as_bytes(std::span(text))) == hash);
  }
}

TEST_CASE("the tokenizer is copied byte for byte and code is not", "[llama]") {
  const TempDir temp;
  const TempDir source;
  std::filesystem::copy(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama", source.path(),
                        std::filesystem::copy_options::recursive);
  source.write("modeling_own.py", "print('code')");
  const ModelFolder folder = ModelFolder::open(source.path());
  const LlamaConfig config = tiny(false);
  const WrittenModel written =
      write_random_model(temp.path() / "out", config, all_forms(config, FloatForm{}), folder);
  CHECK(file_text(temp.path() / "out/tokenizer.json") ==
        file_text(source.path() / "tokenizer.json"));
  CHECK(written.hashes.contains("tokenizer.json"));
  CHECK_FALSE(std::filesystem::exists(temp.path() / "out/modeling_own.py"));
}

TEST_CASE("a row whose last group is short reads back value for value", "[llama]") {
  const int bits = GENERATE(4, 8);
  // Rows are 32 and 48 long: 20 leaves 12 and 8; 40 holds the one and leaves 8 of the other.
  const std::int64_t group_size = GENERATE(20, 40);
  const Symmetry symmetry = GENERATE(Symmetry::Symmetric, Symmetry::Asymmetric);
  const TempDir temp;
  const LlamaConfig config = tiny(false);
  const StoredForm form = QuantizedForm{{bits, group_size, symmetry}};
  const WrittenModel written =
      write_random_model(temp.path() / "out", config, all_forms(config, form), source_model());
  const ModelFolder model = ModelFolder::open(temp.path() / "out");
  for (const auto& [module, value] : written.weights) {
    INFO(module);
    CHECK(stored_values(model, module) == real_values(value));
    const auto stored = std::get<StoredQuantizedMatrix>(model.matrix(module));
    const bool one_group = group_size >= stored.shape.in_features;
    CHECK(stored.scheme == QuantScheme{bits, one_group ? 0 : group_size, symmetry});
  }
}

TEST_CASE("each row gets the strategy that compressed-tensors reads it with", "[llama]") {
  const auto written = [](std::int64_t group_size, std::int64_t in_features) {
    return written_module("x", {4, group_size, Symmetry::Symmetric}, in_features);
  };
  CHECK(written(0, 48).strategy == GroupStrategy::Channel);
  CHECK(written(16, 48).strategy == GroupStrategy::Group);
  CHECK(written(48, 48).strategy == GroupStrategy::Group);
  CHECK(written(32, 48).strategy == GroupStrategy::Block);
  CHECK(written(64, 48).strategy == GroupStrategy::Channel);
  CHECK(written(64, 48).scheme.group_size == 0);
}

}  // namespace
}  // namespace edgecompress
