#include "pipeline/input_scaling.h"

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

/// The scale of each output of what gives a group's inputs.
at::Tensor scales_of_outputs(const at::Tensor& scales, const std::vector<std::int64_t>& of_column) {
  std::int64_t count = 0;
  for (const std::int64_t output : of_column) count = std::max(count, output + 1);
  at::Tensor by_output = at::ones({count}, at::kFloat);
  by_output.index_copy_(0, at::tensor(of_column, at::kLong), scales);
  return by_output;
}

void divide_layer(const ScaledGroup& scaled, LinearKind kind, const at::Tensor& divisors) {
  LayerState& layer = scaled.layers.at(kind);
  divide_rows(layer, divisors, scaled.dtype, scaled.num_threads);
  for (BlockWeights* const block : scaled.blocks) {
    block->weight(kind) = layer.weight;
    if (block->bias(kind).defined()) block->bias(kind) = block->bias(kind) / divisors;
  }
}

void divide_source(const ScaledGroup& scaled, const at::Tensor& divisors) {
  switch (scaled.group) {
    case InputGroup::QKV:
      for (BlockWeights* const block : scaled.blocks)
        block->input_norm = block->input_norm / divisors;
      return;
    case InputGroup::O:
      return divide_layer(scaled, LinearKind::V, divisors);
    case InputGroup::GateUp:
      for (BlockWeights* const block : scaled.blocks) {
        block->post_attention_norm = block->post_attention_norm / divisors;
      }
      return;
    case InputGroup::Down:
      return divide_layer(scaled, LinearKind::Up, divisors);
  }
}

}  // namespace

std::vector<std::int64_t> scale_of_column(InputGroup group, const BlockWeights& block) {
  if (group == InputGroup::Down) return natural_order(block.shape.intermediate_size);
  if (group != InputGroup::O) return natural_order(block.input_norm.size(0));
  const std::int64_t queries_per_group =
      block.shape.num_attention_heads / block.shape.num_key_value_heads;
  std::vector<std::int64_t> rows_of_v;
  for (std::int64_t head = 0; head < block.shape.num_attention_heads; ++head) {
    for (std::int64_t i = 0; i < block.head_dim; ++i) {
      rows_of_v.push_back(head / queries_per_group * block.head_dim + i);
    }
  }
  return rows_of_v;
}

void fold_scales(const ScaledGroup& scaled, const at::Tensor& scales) {
  ensure(!scaled.blocks.empty(), "a block that is scaled");
  const std::vector<std::int64_t> of_column = scale_of_column(scaled.group, *scaled.blocks.front());
  divide_source(scaled, scales_of_outputs(scales, of_column));
  for (auto& [kind, layer] : scaled.layers) {
    if (input_group(kind) == scaled.group) multiply_columns(layer, scales);
  }
}

}  // namespace edgecompress
