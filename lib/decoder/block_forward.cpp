#include "decoder/block_forward.h"

#include <cmath>
#include <optional>

#include "base/error.h"
#include "decoder/round_activations.h"
#include "tensor/aten.h"
#include "tensor/linear.h"
#include "tensor/silu.h"

namespace edgecompress {
namespace {

/// [batch, length, heads * head_dim] -> [batch, heads, length, head_dim]
at::Tensor split_heads(const at::Tensor& joined, std::int64_t head_dim) {
  return joined.view({joined.size(0), joined.size(1), -1, head_dim}).transpose(1, 2);
}

}  // namespace

InputGroup input_group(LinearKind kind) {
  switch (kind) {
    case LinearKind::Q:
    case LinearKind::K:
    case LinearKind::V:
      return InputGroup::QKV;
    case LinearKind::O:
      return InputGroup::O;
    case LinearKind::Gate:
    case LinearKind::Up:
      return InputGroup::GateUp;
    case LinearKind::Down:
      return InputGroup::Down;
  }
  ensure(false, "a linear kind");
  return InputGroup::QKV;
}

std::vector<LinearKind> layers_of(InputGroup group) {
  std::vector<LinearKind> kinds;
  for (const LinearKind kind : kLinearKinds) {
    if (input_group(kind) == group) kinds.push_back(kind);
  }
  return kinds;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * (x.square().mean(-1, /*keepdim=*/true) + eps).rsqrt() * weight;
}

at::Tensor linear_output(const BlockWeights& block, LinearKind kind, const at::Tensor& input) {
  const at::Tensor& weight = block.weight(kind);
  const at::Tensor read = round_activations(input, block.activation(kind));
  const at::Tensor product = stable_linear(read.to(weight.scalar_type()), weight).to(at::kFloat);
  return block.bias(kind).defined() ? product + block.bias(kind) : product;
}

at::Tensor attention_mix(const BlockWeights& block, const RotaryTable& rotary,
                         const at::Tensor& input) {
  const std::int64_t queries_per_group =
      block.shape.num_attention_heads / block.shape.num_key_value_heads;
  const at::Tensor q =
      rotate(split_heads(linear_output(block, LinearKind::Q, input), block.head_dim), rotary);
  const at::Tensor k =
      rotate(split_heads(linear_output(block, LinearKind::K, input), block.head_dim), rotary)
          .repeat_interleave(queries_per_group, 1);
  const at::Tensor v = split_heads(linear_output(block, LinearKind::V, input), block.head_dim)
                           .repeat_interleave(queries_per_group, 1);
  const at::Tensor mixed = at::scaled_dot_product_attention(
      q, k, v, /*attn_mask=*/std::nullopt, /*dropout_p=*/0.0, /*is_causal=*/true,
      /*scale=*/1.0 / std::sqrt(static_cast<double>(block.head_dim)));
  return mixed.transpose(1, 2).reshape({input.size(0), input.size(1), -1});
}

at::Tensor mlp_activation(const BlockWeights& block, const at::Tensor& input) {
  at::Tensor activated = stable_silu(linear_output(block, LinearKind::Gate, input));
  const at::Tensor up = linear_output(block, LinearKind::Up, input);
  // The widest tensors of a block: two at a time, where no gradient asks for the factors.
  const bool trained = activated.requires_grad() || up.requires_grad();
  return trained ? activated * up : activated.mul_(up);
}

at::Tensor block_forward(const BlockWeights& block, const RotaryTable& rotary,
                         const at::Tensor& hidden, const InputObserver& observer) {
  const auto observe = [&](InputGroup group, const at::Tensor& input) {
    if (observer) observer(group, input);
  };
  const at::Tensor attention_input = rms_norm(hidden, block.input_norm, block.rms_norm_eps);
  observe(InputGroup::QKV, attention_input);
  const at::Tensor mixed = attention_mix(block, rotary, attention_input);
  observe(InputGroup::O, mixed);
  const at::Tensor attended = hidden + linear_output(block, LinearKind::O, mixed);

  const at::Tensor mlp_input = rms_norm(attended, block.post_attention_norm, block.rms_norm_eps);
  observe(InputGroup::GateUp, mlp_input);
  const at::Tensor activated = mlp_activation(block, mlp_input);
  observe(InputGroup::Down, activated);
  return attended + linear_output(block, LinearKind::Down, activated);
}

}  // namespace edgecompress
