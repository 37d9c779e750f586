#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "llama/config.h"

namespace edgecompress {

/// Cosines and sines of the rotary position embedding, [positions, head_dim / 2], float; computed
/// in double.
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};

/// The table of positions 0 ... positions - 1.
/// Source: arXiv 2104.09864; Hugging Face's half-split convention (rotate_half).
RotaryTable make_rotary_table(const LlamaConfig& config, std::int64_t positions, at::Device device);

/// Rotates [batch, heads, positions, head_dim] by the table's first positions.
at::Tensor rotate(const at::Tensor& heads, const RotaryTable& table);

}  // namespace edgecompress
