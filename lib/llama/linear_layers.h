#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llama/config.h"

namespace edgecompress {

/// The linear layers of a decoder block, in the order of the forward pass.
enum class LinearKind { Q, K, V, O, Gate, Up, Down };
inline constexpr std::array kLinearKinds{LinearKind::Q,   LinearKind::K,    LinearKind::V,
                                         LinearKind::O,   LinearKind::Gate, LinearKind::Up,
                                         LinearKind::Down};

/// One linear layer of the model.
struct LinearId {
  std::int64_t block = 0;
  LinearKind kind = LinearKind::Q;
  friend auto operator<=>(const LinearId&, const LinearId&) = default;
};

/// The checkpoint's own name without ".weight", for example "model.layers.3.mlp.down_proj".
std::string module_name(LinearId id);

inline constexpr std::string_view kEmbeddingModule = "model.embed_tokens";
inline constexpr std::string_view kHeadModule = "lm_head";
inline constexpr std::string_view kFinalNormModule = "model.norm";
std::string input_norm_module(std::int64_t block);  ///< "model.layers.3.input_layernorm"
std::string post_attention_norm_module(
    std::int64_t block);  ///< "model.layers.3.post_attention_layernorm"

/// Rows and columns of a weight matrix.
struct MatrixShape {
  std::int64_t out_features = 0;
  std::int64_t in_features = 0;
  friend bool operator==(const MatrixShape&, const MatrixShape&) = default;
};
MatrixShape linear_shape(const LlamaConfig& config, LinearId id);
bool has_bias(const LlamaConfig& config, LinearKind kind);

/// Parameters of the linear weights of a decoder block (norms and biases left out), and of the
/// whole model.
std::int64_t linear_parameters(const LlamaConfig& config, std::int64_t block);
std::int64_t total_parameters(const LlamaConfig& config);

/// Of a token's products with weights, the head's with them: 2 for each weight, zeros included.
/// Attention's own products, which grow with the context, are left out.
std::int64_t flops_per_token(const LlamaConfig& config);

/// Name and shape of every matrix of a model: embedding, linear layers by block, head unless tied.
std::vector<std::pair<std::string, MatrixShape>> model_matrices(const LlamaConfig& config);

}  // namespace edgecompress
