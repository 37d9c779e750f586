#include "llama/checkpoint_writer.h"

#include <filesystem>
#include <iomanip>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/outside_link.h"
#include "checkpoint/safetensors.h"
#include "llama/linear_layers.h"
#include "llama/weight_layout.h"
#include "weights/float_rows.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

const std::map<std::string, std::string> kMetadata{
    {"format", "pt"}};  // transformers reads no file without it

bool is_quantized(const StoredForm& form) { return std::holds_alternative<QuantizedForm>(form); }

}  // namespace

struct CheckpointWriter::State {
  StagedFolder& folder;
  std::string subfolder;
  LlamaConfig config;
  WeightForms forms;
  DType dtype;  ///< of norms and biases, and in config.json
  WrittenShards written = {};
  bool resumed = false;

  std::string path(const std::string& name) const {
    return (std::filesystem::path(subfolder) / name).string();
  }

  const StoredForm& form(std::string_view module) const {
    const auto found = forms.find(module);
    ensure(found != forms.end(), "a form for every matrix");
    return found->second;
  }

  MatrixShape table_shape() const { return {config.vocab_size, config.hidden_size}; }

  /// Writes one shard: `headers` says what, `append` gives the data in that order.
  template <typename Append>
  void write_shard(std::vector<TensorHeader> headers, const Append& append) {
    const std::string name = concat("model-", std::setfill('0'), std::setw(5), written.count + 1,
                                    "-of-", std::setw(5), config.num_blocks() + 2, ".safetensors");
    for (const TensorHeader& header : headers) {
      written.shard_of.emplace(header.name, name);
      written.total_bytes +=
          static_cast<std::uint64_t>(num_elements(header.shape)) * dtype_bytes(header.dtype);
    }
    SafetensorsWriter writer(folder, path(name), std::move(headers), kMetadata);
    append(writer);
    written.hashes[path(name)] = writer.close();
    ++written.count;
  }

  void append_vector(SafetensorsWriter& writer, const std::string& name,
                     const std::vector<float>& values) const {
    std::vector<std::byte> bytes(values.size() * dtype_bytes(dtype));
    bytes_from_floats(values, dtype, bytes);
    writer.append(name, bytes);
  }

  TensorHeader vector_header(const std::string& name, const std::vector<float>& values) const {
    return {name, dtype, {static_cast<std::int64_t>(values.size())}};
  }

  void write_text(const std::string& name, std::string_view content) {
    written.hashes[path(name)] = folder.write(path(name), content);
  }
};

CheckpointWriter::CheckpointWriter(StagedFolder& folder, std::string subfolder, LlamaConfig config,
                                   std::map<std::string, StoredForm, std::less<>> forms)
    : state_(std::make_shared<State>(State{.folder = folder,
                                           .subfolder = std::move(subfolder),
                                           .config = std::move(config),
                                           .forms = std::move(forms),
                                           .dtype = DType::F32})) {
  if (state_->config.tie_word_embeddings) state_->forms.erase(std::string(kHeadModule));
  state_->dtype = written_dtype(state_->forms);
}

const WrittenShards& CheckpointWriter::written() const { return state_->written; }

void CheckpointWriter::resume(WrittenShards written) {
  ensure(state_->written.count == 0, "to resume before anything is written");
  ensure(written.count >= 1 && written.count <= state_->config.num_blocks() + 1,
         "the embedding's shard and some blocks'");
  state_->written = std::move(written);
  state_->resumed = true;
}

void CheckpointWriter::write_embedding(const WeightValue& weight) {
  if (state_->resumed) return;
  ensure(state_->written.count == 0, "the embedding first");
  const std::string module(kEmbeddingModule);
  const std::string head(kHeadModule);
  const StoredForm& form = state_->form(module);
  const MatrixShape shape = state_->table_shape();
  const bool tied_grid = state_->config.tie_word_embeddings && is_quantized(form);
  std::vector<TensorHeader> headers = weight_headers(module, shape, form);
  if (tied_grid) {
    for (TensorHeader& header : grid_headers(head, shape, std::get<QuantizedForm>(form).scheme)) {
      headers.push_back(std::move(header));
    }
  }
  state_->write_shard(std::move(headers), [&](SafetensorsWriter& writer) {
    append_weight(writer, module, shape, form, weight);
    if (tied_grid) append_grid(writer, head, std::get<QuantizedMatrix>(weight));
  });
}

void CheckpointWriter::write_block(std::int64_t block,
                                   const std::map<LinearKind, WeightValue>& weights,
                                   const std::map<std::string, std::vector<float>>& vectors) {
  ensure(state_->written.count == block + 1, "blocks in their order, after the embedding");
  ensure(weights.size() == kLinearKinds.size(), "every linear layer of the block");
  std::vector<TensorHeader> headers;
  for (const LinearKind kind : kLinearKinds) {
    const std::string module = module_name({block, kind});
    const MatrixShape shape = linear_shape(state_->config, {block, kind});
    for (TensorHeader& header : weight_headers(module, shape, state_->form(module))) {
      headers.push_back(std::move(header));
    }
  }
  for (const auto& [name, values] : vectors) headers.push_back(state_->vector_header(name, values));
  state_->write_shard(std::move(headers), [&](SafetensorsWriter& writer) {
    for (const LinearKind kind : kLinearKinds) {
      const std::string module = module_name({block, kind});
      append_weight(writer, module, linear_shape(state_->config, {block, kind}),
                    state_->form(module), weights.at(kind));
    }
    for (const auto& [name, values] : vectors) state_->append_vector(writer, name, values);
  });
}

void CheckpointWriter::write_head(const std::vector<float>& final_norm, const WeightValue* head) {
  ensure(state_->written.count == state_->config.num_blocks() + 1, "the head after all blocks");
  ensure((head == nullptr) == state_->config.tie_word_embeddings, "a head unless it is tied");
  const std::string norm = concat(kFinalNormModule, ".weight");
  const std::string module(kHeadModule);
  const MatrixShape shape = state_->table_shape();
  std::vector<TensorHeader> headers{state_->vector_header(norm, final_norm)};
  if (head != nullptr) {
    for (TensorHeader& header : weight_headers(module, shape, state_->form(module))) {
      headers.push_back(std::move(header));
    }
  }
  state_->write_shard(std::move(headers), [&](SafetensorsWriter& writer) {
    state_->append_vector(writer, norm, final_norm);
    if (head != nullptr) append_weight(writer, module, shape, state_->form(module), *head);
  });
}

std::map<std::string, std::string> CheckpointWriter::finish(const ModelFolder& source) {
  ensure(state_->written.count == state_->config.num_blocks() + 2, "every shard before finish()");
  state_->write_text("config.json", written_config(state_->config, state_->forms).dump(2) + "\n");
  const Json index = {{"metadata", {{"total_size", state_->written.total_bytes}}},
                      {"weight_map", state_->written.shard_of}};
  state_->write_text("model.safetensors.index.json", index.dump(2) + "\n");
  for (const char* const name : kTokenizerFiles) {
    const std::filesystem::path file = source.path() / name;
    if (!std::filesystem::exists(file)) continue;
    refuse_outside_link(source.path(), file);
    const MappedFile content(file);
    state_->write_text(
        name, {reinterpret_cast<const char*>(content.bytes().data()), content.bytes().size()});
  }
  return state_->written.hashes;
}

}  // namespace edgecompress
