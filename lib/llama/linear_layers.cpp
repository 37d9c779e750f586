#include "llama/linear_layers.h"

#include "base/error.h"

namespace edgecompress {
namespace {

std::string block_prefix(std::int64_t block) { return concat("model.layers.", block, "."); }

std::string_view suffix(LinearKind kind) {
  switch (kind) {
    case LinearKind::Q:
      return "self_attn.q_proj";
    case LinearKind::K:
      return "self_attn.k_proj";
    case LinearKind::V:
      return "self_attn.v_proj";
    case LinearKind::O:
      return "self_attn.o_proj";
    case LinearKind::Gate:
      return "mlp.gate_proj";
    case LinearKind::Up:
      return "mlp.up_proj";
    case LinearKind::Down:
      return "mlp.down_proj";
  }
  ensure(false, "a known kind of linear layer");
  return {};
}

}  // namespace

std::string module_name(LinearId id) { return concat(block_prefix(id.block), suffix(id.kind)); }

std::string input_norm_module(std::int64_t block) {
  return block_prefix(block) + "input_layernorm";
}

std::string post_attention_norm_module(std::int64_t block) {
  return block_prefix(block) + "post_attention_layernorm";
}

MatrixShape linear_shape(const LlamaConfig& config, LinearId id) {
  ensure(id.block >= 0 && id.block < config.num_blocks(), "a block of this model");
  const BlockShape& shape = config.blocks[static_cast<std::size_t>(id.block)];
  const std::int64_t query_width = shape.num_attention_heads * config.head_dim;
  const std::int64_t key_width = shape.num_key_value_heads * config.head_dim;
  switch (id.kind) {
    case LinearKind::Q:
      return {query_width, config.hidden_size};
    case LinearKind::K:
    case LinearKind::V:
      return {key_width, config.hidden_size};
    case LinearKind::O:
      return {config.hidden_size, query_width};
    case LinearKind::Gate:
    case LinearKind::Up:
      return {shape.intermediate_size, config.hidden_size};
    case LinearKind::Down:
      return {config.hidden_size, shape.intermediate_size};
  }
  ensure(false, "a known kind of linear layer");
  return {};
}

bool has_bias(const LlamaConfig& config, LinearKind kind) {
  const bool in_mlp =
      kind == LinearKind::Gate || kind == LinearKind::Up || kind == LinearKind::Down;
  return in_mlp ? config.mlp_bias : config.attention_bias;
}

std::int64_t linear_parameters(const LlamaConfig& config, std::int64_t block) {
  std::int64_t count = 0;
  for (const LinearKind kind : kLinearKinds) {
    const MatrixShape shape = linear_shape(config, {block, kind});
    count += shape.out_features * shape.in_features;
  }
  return count;
}

std::int64_t total_parameters(const LlamaConfig& config) {
  const std::int64_t table = config.vocab_size * config.hidden_size;
  std::int64_t count = config.tie_word_embeddings ? table : 2 * table;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    count += linear_parameters(config, block) + 2 * config.hidden_size;
    for (const LinearKind kind : kLinearKinds) {
      if (has_bias(config, kind)) count += linear_shape(config, {block, kind}).out_features;
    }
  }
  return count + config.hidden_size;
}

std::vector<std::pair<std::string, MatrixShape>> model_matrices(const LlamaConfig& config) {
  std::vector<std::pair<std::string, MatrixShape>> matrices;
  const MatrixShape table{.out_features = config.vocab_size, .in_features = config.hidden_size};
  matrices.emplace_back(kEmbeddingModule, table);
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) {
      matrices.emplace_back(module_name({block, kind}), linear_shape(config, {block, kind}));
    }
  }
  if (!config.tie_word_embeddings) matrices.emplace_back(kHeadModule, table);
  return matrices;
}

std::int64_t flops_per_token(const LlamaConfig& config) {
  std::int64_t weights = config.vocab_size * config.hidden_size;  // the head, tied or not
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    weights += linear_parameters(config, block);
  }
  return 2 * weights;
}

}  // namespace edgecompress
