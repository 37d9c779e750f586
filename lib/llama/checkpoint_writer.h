#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/staged_output.h"
#include "llama/config.h"
#include "llama/model_folder.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// How a weight will be stored.
struct FloatForm {
  DType dtype = DType::F32;
};
struct QuantizedForm {
  QuantScheme scheme;
};
using StoredForm = std::variant<FloatForm, QuantizedForm>;

/// A weight ready to be stored: floats [out, in] (rounded to the form's dtype by the writer) or
/// codes.
using WeightValue = std::variant<std::vector<float>, QuantizedMatrix>;

/// Writes a model folder block by block: one shard for the embedding, one per decoder block, one
/// for the final norm and the head. The shards are final as soon as they are written; finish() adds
/// config.json, the index, and byte copies of the tokenizer files. Float weights keep safetensors'
/// usual names; quantized ones use compressed-tensors' pack-quantized layout (weight_packed,
/// weight_scale in F32, weight_shape, weight_zero_point), 4 and 8 bits alike.
class CheckpointWriter {
 public:
  /// config: of the model to be written. forms: by module name, for every matrix.
  CheckpointWriter(StagedFolder& folder, std::string subfolder, LlamaConfig config,
                   std::map<std::string, StoredForm, std::less<>> forms);

  /// Each in this order, once.
  void write_embedding(const WeightValue& weight);
  /// vectors: norms and biases of the block by tensor name.
  void write_block(std::int64_t block, const std::map<LinearKind, WeightValue>& weights,
                   const std::map<std::string, std::vector<float>>& vectors);
  /// head: absent when tied to the embedding.
  void write_head(const std::vector<float>& final_norm, const WeightValue* head);

  /// source: the folder whose tokenizer files and README are copied. Returns name -> SHA-256 of
  /// every file written.
  std::map<std::string, std::string> finish(const ModelFolder& source);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace edgecompress
