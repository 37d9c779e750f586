#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "panel_sparse/kernels.h"
#include "panel_sparse/panel_sparse_view.h"

namespace edgecompress {

enum class InstructionSet { Scalar, Avx2, Avx512, NeonDot, NeonI8mm };

/// What this processor can run, slowest first; Scalar is always there.
std::vector<InstructionSet> supported_instruction_sets();

KernelSet kernels_for(InstructionSet set);

/// Activations quantized for one matrix: int8 codes with one scale per token and group of the
/// matrix. A scale per token alone would cost several times more accuracy where a few inputs are
/// large.
class InputBuffer {
 public:
  /// Makes room for `tokens` tokens; what was held is lost. Keeps its memory for the next call.
  void prepare(const PanelSparseView& matrix, std::int64_t tokens);

  /// Quantizes one token, x [columns]. May be called for different tokens at once.
  void quantize_token(const PanelSparseView& matrix, const KernelSet& kernels, std::int64_t token,
                      const float* x);

  const QuantizedInputs& inputs() const { return inputs_; }

 private:
  std::vector<std::int8_t> codes_;
  std::vector<std::uint8_t> biased_;
  std::vector<std::uint8_t> slots_;  // no byte behind a group's 256 is ever written
  std::vector<float> scales_;
  std::vector<std::int32_t> offsets_;
  QuantizedInputs inputs_;
};

/// Bytes of scratch a kernel needs, for one thread.
std::size_t scratch_bytes(const PanelSparseView& matrix);

/// y = x * W^T on one thread with int8 activations. x: [tokens, columns], y: [tokens, rows].
void multiply_panel_sparse(const PanelSparseView& matrix, InstructionSet set,
                           std::span<const float> x, std::span<float> y);

/// The same with float activations, for the rows of panels [first_panel, last_panel). Each group is
/// summed in float and then scaled; last bits depend on the instruction set. Codes are spread one
/// by one, which few tokens do not repay: for comparison.
void multiply_exact(const PanelSparseView& matrix, const KernelSet& kernels,
                    std::span<const float> x, std::int64_t first_panel, std::int64_t last_panel,
                    std::span<float> y);

}  // namespace edgecompress
