#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "llama/checkpoint_writer.h"
#include "llama/config.h"
#include "llama/linear_layers.h"
#include "llama/quantization_config.h"

namespace edgecompress {

using WeightForms = std::map<std::string, StoredForm, std::less<>>;

/// How CheckpointWriter stores a quantized module with rows of `in_features` (see its table); its
/// activations are left to the caller.
QuantizedModule written_module(std::string_view module, const QuantScheme& scheme,
                               std::int64_t in_features);

/// The tensors of a module's weight, in the order of append_weight.
std::vector<TensorHeader> weight_headers(const std::string& module, const MatrixShape& shape,
                                         const StoredForm& form);

/// The scales and zero points alone, under `module`: what a tied head stores.
std::vector<TensorHeader> grid_headers(const std::string& module, const MatrixShape& shape,
                                       const QuantScheme& scheme);

void append_weight(SafetensorsWriter& writer, const std::string& module, const MatrixShape& shape,
                   const StoredForm& form, const WeightValue& value);
void append_grid(SafetensorsWriter& writer, const std::string& module,
                 const QuantizedMatrix& matrix);

/// The quantization_config of config.json, or null when every form is float.
nlohmann::ordered_json quantization_document(const WeightForms& forms, const LlamaConfig& config);

/// The narrowest float type that holds every stored float; F32 for integers, whose scales are F32.
/// Norms and biases are stored in it.
DType written_dtype(const WeightForms& forms);

/// config.json of a model stored in these forms; of a tied head only the embedding's counts.
nlohmann::ordered_json written_config(LlamaConfig config, const WeightForms& forms);

/// Files that are copied from one model folder to the next when they are there.
inline constexpr std::array<const char*, 9> kTokenizerFiles{
    "tokenizer.json",  "tokenizer_config.json", "special_tokens_map.json",
    "tokenizer.model", "added_tokens.json",     "vocab.json",
    "merges.txt",      "chat_template.jinja",   "generation_config.json"};

}  // namespace edgecompress
