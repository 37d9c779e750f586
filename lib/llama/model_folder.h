#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "checkpoint/tensor_store.h"
#include "llama/config.h"
#include "llama/linear_layers.h"
#include "weights/activation_rounding.h"
#include "weights/quant_scheme.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// A weight stored as F32, F16 or BF16, [out_features, in_features].
struct FloatMatrix {
  const TensorEntry* values;
};

/// A weight stored in compressed-tensors' pack-quantized, int-quantized or naive-quantized layout.
struct StoredQuantizedMatrix {
  MatrixShape shape;
  QuantScheme scheme;
  const TensorEntry* codes =
      nullptr;  ///< "weight_packed" I32 [out, ceil(in * bits / 32)], or "weight" I8 [out, in]
  const TensorEntry* scales = nullptr;  ///< "weight_scale" [out, groups]
  const TensorEntry* zero_points =
      nullptr;  ///< "weight_zero_point": I32 packed along out [ceil(out * bits /
                ///< 32), groups], I8 [out, groups], or nullptr when symmetric
  ActivationRounding activations = ActivationRounding::None;  ///< of the layer's inputs
};

using StoredMatrix = std::variant<FloatMatrix, StoredQuantizedMatrix>;

/// Rows [begin, end) as floats, [end - begin, in_features]. F32 stays as it is; everything else
/// converts exactly.
void read_rows(const StoredMatrix& matrix, std::int64_t begin, std::int64_t end,
               std::span<float> out);
/// Rows [begin, end) with their codes, scales and zero points.
QuantizedMatrix read_quantized_rows(const StoredQuantizedMatrix& matrix, std::int64_t begin,
                                    std::int64_t end);
MatrixShape matrix_shape(const StoredMatrix& matrix);

/// Weights that read as 0. Reads every row, some at a time.
std::int64_t count_stored_zeros(const StoredMatrix& matrix, int num_threads);

/// A model folder in the Hugging Face layout, opened read-only and checked: every tensor that the
/// config asks for is there with its shape, and nothing else is.
class ModelFolder {
 public:
  /// Reads config.json, the safetensors headers and the quantization_config; no weight.
  /// Throws as TensorStore::open and parse_llama_config; Error{Malformed} C10, C11, C12, C16 with a
  /// table of up to 20 differences.
  static ModelFolder open(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return store_.folder(); }
  const LlamaConfig& config() const { return config_; }
  const TensorStore& store() const { return store_; }
  bool is_quantized() const { return quantized_; }

  /// The weight of a module ("model.layers.0.mlp.up_proj", "model.embed_tokens", "lm_head"). A tied
  /// matrix that is stored under one of its two names answers to both.
  StoredMatrix matrix(std::string_view module) const;

  bool has_matrix(std::string_view module) const { return matrices_.count(module) > 0; }

  /// True when the head is the embedding's table: tied by config.json, or stored twice with the
  /// same bytes (the form a quantized tied table takes, see CheckpointWriter). Cost: untied tables
  /// are compared up to their first difference.
  bool head_is_embedding() const;

  /// A norm's weight or a layer's bias, as floats, by its tensor name ("model.norm.weight").
  std::vector<float> vector(std::string_view tensor) const;

  /// Drops the module's pages from memory.
  void drop(std::string_view module) const;

 private:
  ModelFolder(TensorStore store, LlamaConfig config);

  TensorStore store_;
  LlamaConfig config_;
  bool quantized_ = false;
  std::map<std::string, StoredMatrix, std::less<>> matrices_;
};

}  // namespace edgecompress
