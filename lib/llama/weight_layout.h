#pragma once

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

/// How CheckpointWriter stores a quantized module with rows of `in_features` (see its table).
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

}  // namespace edgecompress
