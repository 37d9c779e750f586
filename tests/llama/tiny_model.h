#pragma once

#include <cmath>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/staged_output.h"
#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"

namespace edgecompress {

/// The config.json of a Llama of 2 blocks that no two sizes of agree in. Fields can be changed
/// before it is written.
inline nlohmann::ordered_json tiny_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 8},
          {"hidden_act", "silu"},
          {"vocab_size", 40},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", false},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"dtype", "float32"}};
}

/// Different values at every position; the same for the same seed.
inline std::vector<float> random_floats(std::int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(generator()) / 4294967296.0 - 0.5);
  }
  return values;
}

/// Random codes, scales and zero points: every code of the grid occurs in a matrix of some hundred
/// weights.
inline QuantizedMatrix random_quantized(const MatrixShape& shape, const QuantScheme& scheme,
                                        unsigned seed) {
  std::mt19937 generator(seed);
  const auto code = [&] {
    const auto span = static_cast<std::uint32_t>(scheme.qmax() - scheme.qmin() + 1);
    return static_cast<std::int8_t>(static_cast<int>(generator() % span) + scheme.qmin());
  };
  const auto groups =
      static_cast<std::size_t>(shape.out_features * scheme.groups_per_row(shape.in_features));
  std::vector<std::int8_t> codes(static_cast<std::size_t>(shape.out_features * shape.in_features));
  for (std::int8_t& c : codes) c = code();
  std::vector<float> scales(groups);
  for (float& s : scales) s = 0.001F + static_cast<float>(generator() % 1000) * 1e-5F;
  std::vector<std::int8_t> zero_points(scheme.symmetry == Symmetry::Asymmetric ? groups : 0);
  for (std::int8_t& z : zero_points) z = code();
  return {shape.out_features, shape.in_features, scheme, codes, scales, zero_points};
}

inline WeightValue random_value(const MatrixShape& shape, const StoredForm& form, unsigned seed) {
  if (const auto* const quantized = std::get_if<QuantizedForm>(&form)) {
    return random_quantized(shape, quantized->scheme, seed);
  }
  return random_floats(shape.out_features * shape.in_features, seed);
}

using Forms = std::map<std::string, StoredForm, std::less<>>;

/// The same form for every matrix of the model.
inline Forms all_forms(const LlamaConfig& config, const StoredForm& form) {
  Forms forms{{std::string(kEmbeddingModule), form}, {std::string(kHeadModule), form}};
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) forms.emplace(module_name({block, kind}), form);
  }
  return forms;
}

struct WrittenModel {
  std::map<std::string, WeightValue> weights;  ///< by module
  std::map<std::string, std::string> hashes;
};

/// Writes a model of random weights to `folder` / "checkpoint" and publishes it.
inline WrittenModel write_random_model(const std::filesystem::path& target,
                                       const LlamaConfig& config, const Forms& forms,
                                       const ModelFolder& source, unsigned seed = 1) {
  WrittenModel out;
  StagedFolder staged(target, {}, ExistingOutput::Refuse);
  CheckpointWriter writer(staged, "", config, forms);
  const MatrixShape table{config.vocab_size, config.hidden_size};
  const auto value_of = [&](const std::string& module, const MatrixShape& shape) -> WeightValue& {
    return out.weights
        .emplace(module, random_value(shape, forms.find(module)->second,
                                      seed + static_cast<unsigned>(out.weights.size())))
        .first->second;
  };
  writer.write_embedding(value_of(std::string(kEmbeddingModule), table));
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    std::map<LinearKind, WeightValue> weights;
    std::map<std::string, std::vector<float>> vectors{
        {input_norm_module(block) + ".weight", random_floats(config.hidden_size, seed + 100)},
        {post_attention_norm_module(block) + ".weight",
         random_floats(config.hidden_size, seed + 101)}};
    for (const LinearKind kind : kLinearKinds) {
      const MatrixShape shape = linear_shape(config, {block, kind});
      const std::string module = module_name({block, kind});
      weights.emplace(kind, value_of(module, shape));
      if (has_bias(config, kind)) {
        vectors.emplace(module + ".bias", random_floats(shape.out_features, seed + 102));
      }
    }
    writer.write_block(block, weights, vectors);
  }
  const WeightValue* const head =
      config.tie_word_embeddings ? nullptr : &value_of(std::string(kHeadModule), table);
  writer.write_head(random_floats(config.hidden_size, seed + 103), head);
  out.hashes = writer.finish(source);
  staged.publish();
  return out;
}

}  // namespace edgecompress
