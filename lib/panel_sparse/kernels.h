#pragma once

#include <cstdint>

#include "panel_sparse/panel_sparse_view.h"

namespace edgecompress {

// What the kernels of every instruction set share. The files that are compiled for one instruction
// set include only this header and intrinsics: an inline function of the standard library compiled
// there could replace the one the rest of the program uses, and stop it on an older processor.

/// Activations of `tokens` tokens, quantized per token and group: x = scale * code, code in [-127,
/// 127].
struct QuantizedInputs {
  std::int64_t tokens = 0;
  std::int64_t padded_columns = 0;     ///< groups * group; codes behind the last column are 0
  const std::int8_t* codes = nullptr;  ///< [tokens, padded_columns], readable 64 bytes further
  const float* scales = nullptr;       ///< [tokens, groups]
  const std::int32_t* offsets =
      nullptr;  ///< [tokens, groups, 16], see kOffsetLanes; only with shared_rows 1
};

/// Unstructured rows are summed in 16 lanes: column c of a group belongs to lane (c % 64) / 4. A
/// lane sums integers over a group and floats over groups; at the row's end lanes i and i + 8 are
/// added, then i and i + 4, i + 2, i + 1. All kernels keep this order, so all give the same bits.
/// Kernels that multiply the stored code + 2^(bits-1) start their sums at `offsets`, -2^(bits-1) *
/// the sum of the lane's input codes.
inline constexpr int kOffsetLanes = 16;

/// y[token, row] for the rows of panels [first_panel, last_panel).
/// y: row stride `rows` of the matrix; the formula is
///    y = sum over groups, in order, of fma(float(sum of code * input code), scale * input scale, y
///    so far).
/// scratch: of this thread, 4 * padded_columns bytes and 64 more.
using PanelKernel = void (*)(const PanelSparseView& matrix, const QuantizedInputs& inputs,
                             std::int64_t first_panel, std::int64_t last_panel, float* y,
                             std::uint8_t* scratch);

/// Quantizes one group of one token; codes [count, padded) become 0. Returns the scale.
using QuantizeGroup = float (*)(const float* x, std::int64_t count, std::int64_t padded,
                                std::int8_t* codes);

struct KernelSet {
  PanelKernel multiply;
  QuantizeGroup quantize_group;
};

KernelSet scalar_kernels();
KernelSet avx2_kernels();    ///< AVX2, FMA, F16C
KernelSet avx512_kernels();  ///< AVX-512 F, BW, VL, VNNI, VBMI2

}  // namespace edgecompress
