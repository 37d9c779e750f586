#pragma once

#include <array>
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
#include "weights/activation_rounding.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// How a weight will be stored.
struct FloatForm {
  DType dtype = DType::F32;
};
struct QuantizedForm {
  QuantScheme scheme;
  ActivationRounding activations = ActivationRounding::None;  ///< None or Int8PerToken
};
using StoredForm = std::variant<FloatForm, QuantizedForm>;

/// A weight ready to be stored: floats [out, in] (rounded to the form's dtype by the writer) or
/// codes.
using WeightValue = std::variant<std::vector<float>, QuantizedMatrix>;

/// The shards of a model folder that is being written, as far as they are whole.
struct WrittenShards {
  std::map<std::string, std::string> hashes;    ///< file -> SHA-256
  std::map<std::string, std::string> shard_of;  ///< tensor -> shard, as the index has it
  std::uint64_t total_bytes = 0;                ///< of the tensors
  std::int64_t count = 0;
};

/// Writes a model folder block by block: one shard for the embedding, one per decoder block, one
/// for the final norm and the head. The shards are final as soon as they are written; finish() adds
/// config.json, the index, and byte copies of the tokenizer files. The same calls give the same
/// bytes.
///
/// Float weights keep safetensors' usual names. Quantized weights take the layouts of
/// compressed-tensors that transformers 5.23 with compressed-tensors 0.20 loads (measured; others
/// fail there while loading):
///
/// | weight                                  | layout          | bytes of a code |
/// |-----------------------------------------|-----------------|-----------------|
/// | linear layer or untied head, symmetric  | pack-quantized  | bits / 8        |
/// | linear layer or untied head, asymmetric | naive-quantized | 1               |
/// | embedding, with or without a tied head  | naive-quantized | 1               |
///
/// - asymmetric: those versions expect weight_zero_point of pack-quantized in a shape that nobody
/// writes.
/// - embedding: they initialize a torch.nn.Embedding through its `weight`, which pack-quantized
/// does not have.
/// - a quantized table that is tied to the head is stored once, as model.embed_tokens.weight (I8);
/// only its scales and
///   zero points are stored a second time, under lm_head, because every quantized module needs its
///   own.
///
/// Groups are strategy "group" where the group size divides the row, "channel" where one group
/// holds it, and otherwise "block" of [1, group size], whose last block compressed-tensors pads: it
/// refuses "group" there.
///
/// Scales are F32 and config.json says dtype float32 as soon as one weight is quantized:
/// transformers dequantizes in that dtype, so it computes exactly scale * (code - zero_point) in
/// F32, and a code equal to the zero point is 0.
class CheckpointWriter {
 public:
  /// config: of the model to be written. forms: by module name, for every matrix (the head only
  /// when it is not tied).
  CheckpointWriter(StagedFolder& folder, std::string subfolder, LlamaConfig config,
                   std::map<std::string, StoredForm, std::less<>> forms);

  /// Each in this order, once.
  void write_embedding(const WeightValue& weight);
  /// vectors: norms and biases of the block by tensor name.
  void write_block(std::int64_t block, const std::map<LinearKind, WeightValue>& weights,
                   const std::map<std::string, std::vector<float>>& vectors);
  /// head: absent when tied to the embedding.
  void write_head(const std::vector<float>& final_norm, const WeightValue* head);

  const WrittenShards& written() const;

  /// Goes on behind shards that an earlier writer of the same model made in the same folder: the
  /// embedding's and the first blocks'. write_embedding() then writes nothing, and the first block
  /// to be written is the one behind them. Call first.
  void resume(WrittenShards written);

  /// source: the folder whose tokenizer files and README are copied. Returns name -> SHA-256 of
  /// every file written.
  std::map<std::string, std::string> finish(const ModelFolder& source);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace edgecompress
