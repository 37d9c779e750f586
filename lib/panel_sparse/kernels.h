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
  std::int64_t stride = 0;  ///< from token to token, at least groups * group + 64
  const std::int8_t* codes =
      nullptr;  ///< [tokens, stride]; 0 from the last column to groups * group
  /// code + 128 in the same places, or null: for kernels that multiply signed codes of a 16x4
  /// matrix with many tokens.
  const std::uint8_t* biased = nullptr;
  /// [groups, kSlotBytes], or null: for one token and a 16x4 matrix, each group's codes and, from
  /// byte 256 of its slot on, zeros.
  const std::uint8_t* slots = nullptr;
  const float* scales = nullptr;  ///< [tokens, groups]
  /// [tokens, groups]: -2^(bits-1) * the sum of the group's codes, where kernels that multiply
  /// stored codes, code + 2^(bits-1), may start their sums.
  const std::int32_t* offsets = nullptr;
};

inline constexpr std::int64_t kSlotBytes = 256 + 64;

// 16 of codes; of the smallest groups scales and offsets, 2 each, and counts; columns of quads, 1
inline constexpr std::int64_t kScratchRows = 22;
/// From this many tokens on InputBuffer fills `biased` for a matrix of 16x4.
inline constexpr std::int64_t kManyTokens = 16;
inline constexpr std::int64_t kScratchExtra = 8192;

/// y[token, row] for the rows of panels [first_panel, last_panel).
/// y: row stride `rows` of the matrix; the formula is
///    y = sum over groups, in order, of fma(float(sum of code * input code), scale * input scale, y
///    so far).
/// scratch: of this thread, kScratchRows * groups * group + kScratchExtra bytes.
using PanelKernel = void (*)(const PanelSparseView& matrix, const QuantizedInputs& inputs,
                             std::int64_t first_panel, std::int64_t last_panel, float* y,
                             std::uint8_t* scratch);

/// Quantizes one group of one token; codes [count, padded) become 0. Returns the scale.
using QuantizeGroup = float (*)(const float* x, std::int64_t count, std::int64_t padded,
                                std::int8_t* codes);

/// One group of a panel with float activations: y[token, row] += scale * sum of code * x.
struct ExactGroup {
  const float* weights;  ///< codes, [columns, height]
  std::int64_t columns;
  std::int64_t height;  ///< rows of a panel: 16, 8 or 4
  std::int64_t rows;    ///< of them in the matrix
  const float* scales;  ///< [height]
  const float* x;       ///< [tokens, columns]
  std::int64_t tokens;
  std::int64_t x_stride;
  float* y;  ///< [tokens, rows]
  std::int64_t y_stride;
};
/// The sums are float sums in the order of the columns, rounded as the instruction set does it.
using AddExactGroup = void (*)(const ExactGroup& group);

struct KernelSet {
  PanelKernel multiply;
  QuantizeGroup quantize_group;
  AddExactGroup add_exact_group;
};

KernelSet scalar_kernels();
KernelSet avx2_kernels();       ///< AVX2, FMA, F16C
KernelSet neon_kernels();       ///< Armv8.2 with dot products
KernelSet neon_i8mm_kernels();  ///< the same with products of 8-bit matrices
KernelSet avx512_kernels();     ///< AVX-512 F, BW, VL, VNNI, VBMI2

}  // namespace edgecompress
