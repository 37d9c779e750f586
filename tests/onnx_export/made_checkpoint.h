#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <onnx_ir.pb.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "llama/checkpoint_writer.h"
#include "onnx_export/export_model.h"
#include "support/catch.h"

namespace edgecompress {

inline const std::filesystem::path kMiniLlama =
    std::filesystem::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama";

/// Which weights of a matrix stay.
using KeepRule = bool (*)(std::int64_t row, std::int64_t column);

inline bool keep_all(std::int64_t /*row*/, std::int64_t /*column*/) { return true; }

/// Codes, scales and zero points that differ from place to place and, by `seed`, from module to
/// module. Where `keep` says no, the weight is 0.
inline QuantizedMatrix made_matrix(MatrixShape shape, QuantScheme scheme, int seed, KeepRule keep) {
  const int levels = 1 << scheme.bits;
  const std::int64_t groups = shape.out_features * scheme.groups_per_row(shape.in_features);
  const auto code = [&](std::int64_t i) {
    return static_cast<std::int8_t>((i * 7 + i / levels + seed) % levels + scheme.qmin());
  };
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int8_t> zero_points;
  for (std::int64_t i = 0; i < groups; ++i) {
    scales.push_back(0.5F + static_cast<float>(i % 9973) / 8 + static_cast<float>(seed));
    if (scheme.symmetry == Symmetry::Asymmetric) zero_points.push_back(code(3 * i + 1));
  }
  for (std::int64_t i = 0; i < shape.out_features * shape.in_features; ++i) {
    const std::int64_t row = i / shape.in_features;
    const std::int64_t column = i % shape.in_features;
    const std::int64_t group = row * scheme.groups_per_row(shape.in_features) +
                               column / scheme.group_length(shape.in_features);
    const std::int8_t zero =
        zero_points.empty() ? std::int8_t{0} : zero_points[static_cast<std::size_t>(group)];
    codes.push_back(keep(row, column) ? code(i) : zero);
  }
  return {shape.out_features, shape.in_features, scheme,
          std::move(codes),   std::move(scales), std::move(zero_points)};
}

/// mini-llama with made weights, written as edgecompress writes checkpoints. Returns the real
/// values by module.
inline std::map<std::string, std::vector<float>> write_checkpoint(
    const std::filesystem::path& folder, QuantScheme scheme, KeepRule keep = keep_all) {
  const ModelFolder source = ModelFolder::open(kMiniLlama);
  const LlamaConfig& config = source.config();
  std::map<std::string, std::vector<float>> real;
  int seed = 0;
  const auto make = [&](const std::string& module, MatrixShape shape) {
    QuantizedMatrix matrix = made_matrix(shape, scheme, ++seed, keep);
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

}  // namespace edgecompress
