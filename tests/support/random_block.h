#pragma once

#include "decoder/block_forward.h"
#include "tensor/aten.h"

namespace edgecompress {

/// A decoder block of that shape with seeded random weights, every tensor different at every
/// position.
inline BlockWeights random_block(const BlockShape& shape, std::int64_t hidden_size,
                                 std::int64_t head_dim, std::uint64_t seed) {
  at::manual_seed(seed);
  const auto matrix = [](std::int64_t rows, std::int64_t columns) {
    return at::randn({rows, columns}) / std::sqrt(static_cast<double>(columns));
  };
  const std::int64_t queries = shape.num_attention_heads * head_dim;
  const std::int64_t keys = shape.num_key_value_heads * head_dim;
  BlockWeights block;
  block.shape = shape;
  block.head_dim = head_dim;
  block.rms_norm_eps = 1e-5;
  block.input_norm = at::rand({hidden_size}) + 0.5;
  block.post_attention_norm = at::rand({hidden_size}) + 0.5;
  block.weight(LinearKind::Q) = matrix(queries, hidden_size);
  block.weight(LinearKind::K) = matrix(keys, hidden_size);
  block.weight(LinearKind::V) = matrix(keys, hidden_size);
  block.weight(LinearKind::O) = matrix(hidden_size, queries);
  block.weight(LinearKind::Gate) = matrix(shape.intermediate_size, hidden_size);
  block.weight(LinearKind::Up) = matrix(shape.intermediate_size, hidden_size);
  block.weight(LinearKind::Down) = matrix(hidden_size, shape.intermediate_size);
  return block;
}

/// The rotary table that such a block is used with.
inline RotaryTable test_rotary_table(std::int64_t head_dim, std::int64_t positions) {
  LlamaConfig config;
  config.head_dim = head_dim;
  config.max_position_embeddings = positions;
  return make_rotary_table(config, positions, at::kCPU);
}

}  // namespace edgecompress
