#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "llama/model_folder.h"
#include "onnx_export/export_model.h"
#include "onnx_export/graph_builder.h"
#include "onnx_export/tensor_bytes.h"

namespace edgecompress {

/// Which operators a graph may use.
enum class OperatorSet { Contrib, Standard };

/// An input of products, rounded to unsigned 8-bit codes: scale * (code - zero_point).
struct RoundedInput {
  std::string codes;
  std::string scale;
  std::string zero_point;
};

/// What the functions that build one graph share.
struct ExportContext {
  const ModelFolder& model;
  GraphBuilder& graph;
  OperatorSet operators = OperatorSet::Contrib;
  int accuracy_level = 4;  ///< of MatMulNBits
  std::int64_t context_length = 0;
  std::int64_t cache_head_dim =
      0;  ///< of keys and values; head_dim, or more when the operator needs it
  int num_threads = 1;
  const SparseOptions* sparse = nullptr;               ///< when matrices may be stored sparse
  std::optional<ActivationRounding> activations = {};  ///< ArtifactActivations' `instead`
  std::map<std::string, RoundedInput, std::less<>> rounded_inputs = {};  ///< by what is rounded
  std::vector<std::string>& warnings;
  std::vector<ProductStorage>& products;  ///< of a sparse export: what was chosen

  const LlamaConfig& config() const { return model.config(); }
  StackedMatrix matrix(const std::vector<std::string>& modules) const;
};

/// "model.layers.3.mlp.up_proj" -> "/model/layers.3/mlp/up_proj": node names as onnxruntime-genai's
/// builder writes them.
std::string node_path(std::string_view module);

/// Names of modules with commas between them.
std::string joined_modules(const std::vector<std::string>& modules);

/// A tensor of floats that is small beside the matrices: a norm's weight, a bias.
std::string add_vector(ExportContext& context, const std::string& name,
                       const std::vector<float>& values, const std::vector<std::string>& modules);

}  // namespace edgecompress
