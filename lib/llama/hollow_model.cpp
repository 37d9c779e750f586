#include "llama/hollow_model.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include <stdlib.h>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

fs::path make_folder() {
  std::string pattern = (fs::temp_directory_path() / "edgecompress-plan-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw Error(ErrorKind::Io, "F-WRITE",
                concat("cannot make a folder in ", fs::temp_directory_path().string(), ": ",
                       std::strerror(errno)));
  }
  return pattern;
}

/// Norms and biases: their names and lengths.
std::vector<TensorHeader> vector_headers(const LlamaConfig& config, DType dtype) {
  std::vector<TensorHeader> headers;
  const auto add = [&](const std::string& name, std::int64_t length) {
    headers.push_back({name, dtype, {length}});
  };
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    add(input_norm_module(block) + ".weight", config.hidden_size);
    add(post_attention_norm_module(block) + ".weight", config.hidden_size);
    for (const LinearKind kind : kLinearKinds) {
      if (!has_bias(config, kind)) continue;
      add(module_name({block, kind}) + ".bias", linear_shape(config, {block, kind}).out_features);
    }
  }
  add(concat(kFinalNormModule, ".weight"), config.hidden_size);
  return headers;
}

std::vector<TensorHeader> all_headers(const LlamaConfig& config, const WeightForms& forms) {
  std::vector<TensorHeader> headers = vector_headers(config, written_dtype(forms));
  for (const auto& [module, shape] : model_matrices(config)) {
    for (TensorHeader& header : weight_headers(module, shape, forms.find(module)->second)) {
      headers.push_back(std::move(header));
    }
    const auto* const quantized = std::get_if<QuantizedForm>(&forms.find(module)->second);
    if (module != kEmbeddingModule || !config.tie_word_embeddings || quantized == nullptr) continue;
    for (TensorHeader& header : grid_headers(std::string(kHeadModule), shape, quantized->scheme)) {
      headers.push_back(std::move(header));
    }
  }
  return headers;
}

/// What a packed matrix says about its own shape is read when it is opened, and whether the head
/// has the embedding's values is asked by exporters.
void write_what_is_read(std::fstream& file, std::uint64_t data_start,
                        const std::vector<TensorHeader>& headers, const LlamaConfig& config,
                        HeadValues head) {
  std::map<std::string, MatrixShape> shapes;
  for (const auto& [module, shape] : model_matrices(config))
    shapes[module + ".weight_shape"] = shape;
  const bool marks_head = head == HeadValues::OfItsOwn && !config.tie_word_embeddings;
  std::uint64_t offset = data_start;
  for (const TensorHeader& header : headers) {
    file.seekp(static_cast<std::streamoff>(offset));
    if (const auto shape = shapes.find(header.name); shape != shapes.end()) {
      const std::int64_t values[2] = {shape->second.out_features, shape->second.in_features};
      file.write(reinterpret_cast<const char*>(values), sizeof(values));
    } else if (marks_head && (header.name == concat(kHeadModule, ".weight") ||
                              header.name == concat(kHeadModule, ".weight_packed"))) {
      file.put(1);
    }
    offset += static_cast<std::uint64_t>(num_elements(header.shape)) * dtype_bytes(header.dtype);
  }
}

void write_weights(const fs::path& path, const LlamaConfig& config, const WeightForms& forms,
                   HeadValues head) {
  const std::vector<TensorHeader> headers = all_headers(config, forms);
  const std::string block = safetensors_header(headers, {{"format", "pt"}});
  std::ofstream(path, std::ios::binary) << block;
  std::error_code error;
  fs::resize_file(path, safetensors_file_bytes(headers, {{"format", "pt"}}), error);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  write_what_is_read(file, block.size(), headers, config, head);
  if (error || !file.flush()) {
    throw Error(ErrorKind::Io, "F-WRITE",
                concat("cannot write ", path.string(), error ? ": " + error.message() : ""));
  }
}

}  // namespace

WeightForms float_forms(const LlamaConfig& config) {
  WeightForms forms;
  for (const auto& [module, shape] : model_matrices(config)) {
    forms.emplace(module, FloatForm{config.dtype});
  }
  return forms;
}

HeadValues head_values(const ModelFolder& model) {
  return model.head_is_embedding() ? HeadValues::Embedding : HeadValues::OfItsOwn;
}

HollowModel::HollowModel(const LlamaConfig& config, const WeightForms& forms, HeadValues head,
                         const fs::path& tokenizer_source)
    : path_(make_folder()) {
  try {
    write_weights(path_ / "model.safetensors", config, forms, head);
    std::ofstream(path_ / "config.json") << written_config(config, forms).dump(2) << "\n";
    for (const char* const name : kTokenizerFiles) {
      if (tokenizer_source.empty() || !fs::exists(tokenizer_source / name)) continue;
      fs::copy_file(tokenizer_source / name, path_ / name);
    }
    folder_ = std::make_unique<ModelFolder>(ModelFolder::open(path_));
  } catch (...) {
    fs::remove_all(path_);
    throw;
  }
}

HollowModel::~HollowModel() {
  folder_.reset();
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace edgecompress
