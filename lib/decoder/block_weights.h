#pragma once

#include <array>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "llama/model_folder.h"
#include "weights/activation_rounding.h"

namespace edgecompress {

/// Where tensors live and in which type products are computed.
struct ComputeTarget {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  ///< kFloat or kBFloat16
};

/// The tensors of one decoder block, on one device.
struct BlockWeights {
  BlockShape shape;
  std::int64_t head_dim = 0;
  double rms_norm_eps = 0;
  at::Tensor input_norm;           ///< [hidden_size]
  at::Tensor post_attention_norm;  ///< [hidden_size]
  std::array<at::Tensor, kLinearKinds.size()>
      weights;  ///< by LinearKind, [out_features, in_features]
  std::array<at::Tensor, kLinearKinds.size()>
      biases;  ///< by LinearKind, [out_features] or undefined
  std::array<ActivationScheme, kLinearKinds.size()> activations =
      {};  ///< by LinearKind: how each layer rounds what it reads

  at::Tensor& weight(LinearKind kind) { return weights[static_cast<std::size_t>(kind)]; }
  const at::Tensor& weight(LinearKind kind) const {
    return weights[static_cast<std::size_t>(kind)];
  }
  at::Tensor& bias(LinearKind kind) { return biases[static_cast<std::size_t>(kind)]; }
  const at::Tensor& bias(LinearKind kind) const { return biases[static_cast<std::size_t>(kind)]; }
  ActivationScheme& activation(LinearKind kind) {
    return activations[static_cast<std::size_t>(kind)];
  }
  const ActivationScheme& activation(LinearKind kind) const {
    return activations[static_cast<std::size_t>(kind)];
  }
};

/// A whole matrix as float, [out_features, in_features], on the CPU; quantized ones dequantized.
at::Tensor load_matrix(const StoredMatrix& matrix, int num_threads);

/// Rounds to what a checkpoint of that dtype can hold. weight: float.
at::Tensor rounded_to(const at::Tensor& weight, DType dtype);

/// How the model's folder wants a layer's inputs rounded; not at all when its weight is float.
ActivationScheme stored_activation(const StoredMatrix& matrix);

/// Loads one decoder block as float on the CPU and lets the kernel take back its pages.
/// Cost: the block's parameters x 4 bytes.
BlockWeights load_block(const ModelFolder& model, std::int64_t block, int num_threads);

/// The block on the target's device, its matrices in the target's type; norms and biases stay
/// float.
BlockWeights to_target(const BlockWeights& block, const ComputeTarget& target);

}  // namespace edgecompress
