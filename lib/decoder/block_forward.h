#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include "decoder/block_weights.h"
#include "decoder/rotary_table.h"

namespace edgecompress {

/// The linear layers that share an input.
enum class InputGroup { QKV, O, GateUp, Down };
inline constexpr std::array kInputGroups{InputGroup::QKV, InputGroup::O, InputGroup::GateUp,
                                         InputGroup::Down};
InputGroup input_group(LinearKind kind);
/// The layers that read the same input, in the order of kLinearKinds.
std::vector<LinearKind> layers_of(InputGroup group);

/// Sees the input of a group of linear layers, [batch, length, in_features], before it is used.
using InputObserver = std::function<void(InputGroup group, const at::Tensor& input)>;

/// x / sqrt(mean(x^2) + eps) * weight over the last dimension, in float.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// The output of one linear layer, [.., out_features] float; its input is rounded as the block
/// says. Products are computed in the type of the weight.
at::Tensor linear_output(const BlockWeights& block, LinearKind kind, const at::Tensor& input);

/// What o_proj reads: attention over sequences that start at position 0. input: the normed hidden
/// states.
at::Tensor attention_mix(const BlockWeights& block, const RotaryTable& rotary,
                         const at::Tensor& input);

/// What down_proj reads: silu(gate) * up. input: the normed hidden states.
at::Tensor mlp_activation(const BlockWeights& block, const at::Tensor& input);

/// One decoder block on sequences that start at position 0.
///
/// hidden:   [batch, length, hidden_size], float, on the block's device; length at most the table's
/// positions. observer: may be empty. Returns   [batch, length, hidden_size], float. Products are
/// computed in the type of block.weights. The rows of a batch do not influence each other, whatever
/// the batch is.
at::Tensor block_forward(const BlockWeights& block, const RotaryTable& rotary,
                         const at::Tensor& hidden, const InputObserver& observer);

}  // namespace edgecompress
