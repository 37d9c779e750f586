#include "decoder/round_activations.h"

#include <array>
#include <limits>

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

// Half of the 255 steps between the codes -128 and 127, as compressed-tensors has it.
constexpr float kStepsPerToken = 127.5F;
// MatMulNBits leaves the code -128 out.
constexpr float kStepsPerBlock = 127.0F;
constexpr float kSmallestScale = std::numeric_limits<float>::min();

/// Symmetric over the last dimension.
at::Tensor round_rows(const at::Tensor& rows, float steps) {
  const at::Tensor scale =
      (rows.abs().amax(-1, /*keepdim=*/true) / steps).clamp_min(kSmallestScale);
  return (rows / scale).round().clamp(-128, 127) * scale;
}

at::Tensor round_blocks(const at::Tensor& input, std::int64_t block) {
  ensure(block > 0, "a block of at least one input");
  const std::int64_t columns = input.size(-1);
  const std::int64_t missing = (block - columns % block) % block;
  const at::Tensor whole = at::constant_pad_nd(input, {0, missing});
  const at::Tensor rounded =
      round_rows(whole.unflatten(-1, {-1, block}), kStepsPerBlock).flatten(-2, -1);
  return rounded.narrow(-1, 0, columns);
}

/// DynamicQuantizeLinear, opset 11, on each sequence of its own.
at::Tensor round_sequences(const at::Tensor& input) {
  ensure(input.dim() == 3, "inputs as [batch, length, in_features]");
  constexpr std::array<std::int64_t, 2> kOfSequence{1, 2};
  const at::Tensor least = input.amin(kOfSequence, /*keepdim=*/true).clamp_max(0);
  const at::Tensor largest = input.amax(kOfSequence, /*keepdim=*/true).clamp_min(0);
  const at::Tensor scale = ((largest - least) / 255).clamp_min(kSmallestScale);
  const at::Tensor zero_point = (-least / scale).clamp(0, 255).round();
  const at::Tensor codes = ((input / scale).round() + zero_point).clamp(0, 255);
  return (codes - zero_point) * scale;
}

at::Tensor rounded(const at::Tensor& input, const ActivationScheme& scheme) {
  switch (scheme.rounding) {
    case ActivationRounding::None:
      return input;
    case ActivationRounding::Int8PerToken:
      return round_rows(input, kStepsPerToken);
    case ActivationRounding::Int8PerTensor:
      return round_sequences(input);
    case ActivationRounding::Int8PerBlock:
      return round_blocks(input, scheme.block);
  }
  ensure(false, "a rounding of activations");
  return input;
}

}  // namespace

at::Tensor round_activations(const at::Tensor& input, const ActivationScheme& scheme) {
  if (scheme.rounding == ActivationRounding::None) return input;
  const at::Tensor codes = rounded(input.detach(), scheme);
  return input.requires_grad() ? input + (codes - input.detach()) : codes;
}

}  // namespace edgecompress
