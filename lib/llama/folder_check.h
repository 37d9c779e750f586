#pragma once

#include <map>
#include <string>

#include "checkpoint/tensor_store.h"
#include "llama/config.h"
#include "llama/model_folder.h"
#include "llama/quantization_config.h"

namespace edgecompress {

/// Finds every matrix that the config asks for, and compares names, shapes and dtypes of all
/// tensors with it. Returns the matrices by module. A tied table stored under one name is entered
/// under both. Throws Error{Malformed} C10, C11, C12, C16.
std::map<std::string, StoredMatrix, std::less<>> match_tensors(
    const TensorStore& store, const LlamaConfig& config,
    const std::optional<QuantizationConfig>& quantization);

/// True when two stored matrices have the same layout and the same bytes.
bool same_stored_bytes(const StoredMatrix& first, const StoredMatrix& second);

}  // namespace edgecompress
