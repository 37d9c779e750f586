#include "llama/model_folder.h"

#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/outside_link.h"
#include "llama/folder_check.h"
#include "llama/quantization_config.h"
#include "weights/float_rows.h"

namespace edgecompress {
namespace {

LlamaConfig read_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  refuse_outside_link(folder, path);
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  return parse_llama_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                            path.string());
}

}  // namespace

ModelFolder::ModelFolder(TensorStore store, LlamaConfig config)
    : store_(std::move(store)), config_(std::move(config)) {}

ModelFolder ModelFolder::open(const std::filesystem::path& folder) {
  LlamaConfig config = read_config(folder);
  const std::optional<QuantizationConfig> quantization =
      QuantizationConfig::parse(config.document, (folder / "config.json").string());
  ModelFolder model(TensorStore::open(folder), std::move(config));
  model.quantized_ = quantization.has_value();
  model.matrices_ = match_tensors(model.store_, model.config_, quantization);
  return model;
}

StoredMatrix ModelFolder::matrix(std::string_view module) const {
  const auto found = matrices_.find(module);
  ensure(found != matrices_.end(), "a module of this model");
  return found->second;
}

bool ModelFolder::head_is_embedding() const {
  return config_.tie_word_embeddings ||
         same_stored_bytes(matrix(kEmbeddingModule), matrix(kHeadModule));
}

std::vector<float> ModelFolder::vector(std::string_view tensor) const {
  const TensorEntry& entry = store_.get(tensor);
  std::vector<float> values(static_cast<std::size_t>(num_elements(entry.shape)));
  floats_from_bytes(entry.bytes, entry.dtype, values);
  return values;
}

void ModelFolder::drop(std::string_view module) const {
  const StoredMatrix stored = matrix(module);
  if (const auto* const values = std::get_if<FloatMatrix>(&stored)) {
    store_.drop(*values->values);
    return;
  }
  const auto& quantized = std::get<StoredQuantizedMatrix>(stored);
  store_.drop(*quantized.codes);
  store_.drop(*quantized.scales);
  if (quantized.zero_points != nullptr) store_.drop(*quantized.zero_points);
}

}  // namespace edgecompress
