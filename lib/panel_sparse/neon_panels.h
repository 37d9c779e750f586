// Included by the kernel files for NEON, and compiled there for Armv8.2's dot products or for
// Armv8.6's products of matrices too; no other file may include it.
#pragma once

#include <arm_neon.h>

#include "panel_sparse/byte_shuffles.h"
#include "panel_sparse/exact_group.h"
#include "panel_sparse/kernels.h"
#include "panel_sparse/panel_frame.h"

namespace edgecompress {
namespace {

constexpr int kRows = 4;  // of an unstructured panel
constexpr int kLargestGroup = 256;
constexpr int kPieceCodes = 128;  // 4-bit codes that are stored as low and high halves of 64 bytes

template <typename T>
inline T load_any(const std::uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

/// Moves the inputs of stored columns of a group together, followed by 16 zeros. Returns how many
/// there are.
inline int compact_group(const std::int8_t* inputs, const std::uint8_t* bitmap, int group,
                         int column_block, std::int8_t* out) {
  int stored = 0;
  if (column_block == 1) {
    for (int first = 0; first < group; first += 8) {
      const std::uint8_t mask = bitmap[first / 8];
      vst1_s8(out + stored, vtbl1_s8(vld1_s8(inputs + first),
                                     vreinterpret_s8_u8(vld1_u8(kShuffles.squeeze[mask]))));
      stored += __builtin_popcount(mask);
    }
  } else {
    for (int block = 0; block < group / 4; ++block) {
      __builtin_memcpy(out + stored, inputs + 4 * block, 4);
      stored += 4 * ((bitmap[block / 8] >> (block % 8)) & 1);
    }
  }
  vst1q_s8(out + stored, vdupq_n_s8(0));
  return stored;
}

/// The four inputs of a quad, in every lane.
inline int8x16_t quad_inputs(const std::int8_t* compact, int quad) {
  return vreinterpretq_s8_s32(vdupq_n_s32(
      load_any<std::int32_t>(reinterpret_cast<const std::uint8_t*>(compact) + 4 * quad)));
}

/// The codes of rows 4 * `rows` and following in one quad.
struct RowCodes {
  int quad;
  int rows;
  int8x16_t codes;
};

/// The inputs of a group for some tokens: stored columns side by side.
struct StoredInputs {
  const std::int8_t* compact;
  std::int64_t stride;

  const std::int8_t* of(int token) const { return compact + token * stride; }
};

/// Sums of some tokens by row, four rows to a vector.
template <int R, int T>
class RowSums {
 public:
  void begin(int token, std::int32_t offset) {
    for (int q = 0; q < R / 4; ++q) of_[token][q] = vdupq_n_s32(offset);
  }

  /// Two quads of the same rows.
  void add(const RowCodes& a, const RowCodes& b, const StoredInputs& x) {
    for (int t = 0; t < T; ++t) {
      of_[t][a.rows] = vdotq_s32(of_[t][a.rows], a.codes, quad_inputs(x.of(t), a.quad));
      of_[t][a.rows] = vdotq_s32(of_[t][a.rows], b.codes, quad_inputs(x.of(t), b.quad));
    }
  }

  void add(const RowCodes& a, const StoredInputs& x) {
    for (int t = 0; t < T; ++t) {
      of_[t][a.rows] = vdotq_s32(of_[t][a.rows], a.codes, quad_inputs(x.of(t), a.quad));
    }
  }

  int32x4_t sum(int token, int q) const { return of_[token][q]; }

 private:
  int32x4_t of_[T][R / 4];
};

#if defined(__ARM_FEATURE_MATMUL_INT8)
/// The same for four tokens: one instruction multiplies two rows with two tokens over eight
/// columns.
template <int R>
class RowSums<R, 4> {
 public:
  void begin(int token, std::int32_t offset) {
    offsets_[token] = offset;
    for (int q = 0; q < R / 4; ++q) {
      for (int half = 0; half < 2; ++half) tiles_[token / 2][q][half] = vdupq_n_s32(0);
    }
  }

  void add(const RowCodes& a, const RowCodes& b, const StoredInputs& x) {
    const int32x4_t a4 = vreinterpretq_s32_s8(a.codes);
    const int32x4_t b4 = vreinterpretq_s32_s8(b.codes);
    const int8x16_t rows[2] = {vreinterpretq_s8_s32(vzip1q_s32(a4, b4)),
                               vreinterpretq_s8_s32(vzip2q_s32(a4, b4))};
    for (int pair = 0; pair < 2; ++pair) {
      const int32x4_t first = vzip1q_s32(vreinterpretq_s32_s8(quad_inputs(x.of(2 * pair), a.quad)),
                                         vreinterpretq_s32_s8(quad_inputs(x.of(2 * pair), b.quad)));
      const int32x4_t second =
          vzip1q_s32(vreinterpretq_s32_s8(quad_inputs(x.of(2 * pair + 1), a.quad)),
                     vreinterpretq_s32_s8(quad_inputs(x.of(2 * pair + 1), b.quad)));
      const int8x16_t tokens =
          vreinterpretq_s8_s32(vcombine_s32(vget_low_s32(first), vget_low_s32(second)));
      for (int half = 0; half < 2; ++half) {
        int32x4_t& tile = tiles_[pair][a.rows][half];
        tile = vmmlaq_s32(tile, rows[half], tokens);
      }
    }
  }

  void add(const RowCodes& a, const StoredInputs& x) { add(a, {a.quad, a.rows, vdupq_n_s8(0)}, x); }

  int32x4_t sum(int token, int q) const {
    const int32x4_t* const tiles = tiles_[token / 2][q];  // [2 rows, 2 tokens] each
    const int32x4_t rows =
        token % 2 == 0 ? vuzp1q_s32(tiles[0], tiles[1]) : vuzp2q_s32(tiles[0], tiles[1]);
    return vaddq_s32(rows, vdupq_n_s32(offsets_[token]));
  }

 private:
  int32x4_t tiles_[2][R / 4][2];
  std::int32_t offsets_[4];
};
#endif

/// 16 4-bit codes of which neighbours share a byte.
inline uint8x16_t widen_pairs(const std::uint8_t* from) {
  const uint8x8_t pairs = vld1_u8(from);
  const uint8x8_t first = vand_u8(pairs, vdup_n_u8(15));
  const uint8x8_t second = vshr_n_u8(pairs, 4);
  return vcombine_u8(vzip1_u8(first, second), vzip2_u8(first, second));
}

/// Sums over one group; of 4-bit codes, of code + 8. The loops over rows have constant bounds, so
/// that all sums stay in registers.
template <int BITS, int R, int T>
inline void sum_group(const std::uint8_t* codes, const StoredInputs& inputs, int stored,
                      RowSums<R, T>& sums) {
  constexpr int kParts = R / 4;
  const int quads = (stored + 3) / 4;
  int quad = 0;
  if constexpr (BITS == 8) {
    const auto load = [&](int which, int rows) {
      const uint8x16_t code =
          veorq_u8(vld1q_u8(codes + 4 * R * which + 16 * rows), vdupq_n_u8(128));
      return RowCodes{which, rows, vreinterpretq_s8_u8(code)};
    };
    for (; quad + 2 <= quads; quad += 2) {
      for (int rows = 0; rows < kParts; ++rows) {
        sums.add(load(quad, rows), load(quad + 1, rows), inputs);
      }
    }
    if (quad == quads) return;
    for (int rows = 0; rows < kParts; ++rows) sums.add(load(quad, rows), inputs);
  } else {
    constexpr int kPieceQuads = kPieceCodes / (4 * R);
    const uint8x16_t low = vdupq_n_u8(15);
    for (; quad + kPieceQuads <= quads; quad += kPieceQuads, codes += kPieceCodes / 2) {
      for (int i = 0; i < 4; ++i) {
        const uint8x16_t both = vld1q_u8(codes + 16 * i);
        const int first = quad + i / kParts;
        sums.add({first, i % kParts, vreinterpretq_s8_u8(vandq_u8(both, low))},
                 {first + kPieceQuads / 2, i % kParts, vreinterpretq_s8_u8(vshrq_n_u8(both, 4))},
                 inputs);
      }
    }
    for (; quad < quads; ++quad, codes += 2 * R) {
      for (int rows = 0; rows < kParts; ++rows) {
        sums.add({quad, rows, vreinterpretq_s8_u8(widen_pairs(codes + 8 * rows))}, inputs);
      }
    }
  }
}

/// 8 * the sum of `stored` inputs.
inline std::int32_t offset_of_nibbles(const std::int8_t* compact, int stored) {
  int32x4_t sums = vdupq_n_s32(0);
  for (int i = 0; i < stored; i += 16) {
    sums = vdotq_s32(sums, vdupq_n_s8(8), vld1q_s8(compact + i));
  }
  return vaddvq_s32(sums);
}

inline float32x4_t load_four_scales(const std::uint8_t* scales, bool half, std::int64_t index) {
  if (half) {
    return vcvt_f32_f16(
        vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(scales + 2 * index))));
  }
  return vld1q_f32(reinterpret_cast<const float*>(scales + 4 * index));
}

/// Writes `count` (at most 4) floats.
inline void store_floats(float* to, float32x4_t values, std::int64_t count) {
  if (count >= 4) {
    vst1q_f32(to, values);
    return;
  }
  float kept[4];
  vst1q_f32(kept, values);
  for (std::int64_t i = 0; i < count; ++i) to[i] = kept[i];
}

template <int BITS, int R, int T>
void multiply_shared(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                     std::int64_t token, float* y) {
  constexpr std::int64_t kStride = kLargestGroup + 32;
  const bool half = m.form.scale_type == ScaleType::Float16;
  std::int8_t compact[T * kStride];
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * m.bitmap_bytes;
  float32x4_t totals[T][R / 4];
  for (int t = 0; t < T; ++t) {
    for (int q = 0; q < R / 4; ++q) totals[t][q] = vdupq_n_f32(0);
  }
  for (std::int64_t g = 0; g < m.groups; ++g, bitmap += m.bitmap_bytes) {
    int stored = 0;
    RowSums<R, T> sums;
    for (int t = 0; t < T; ++t) {
      stored = compact_group(in.codes + (token + t) * in.stride + g * m.form.group, bitmap,
                             m.form.group, m.form.column_block, compact + t * kStride);
      const std::int32_t offset = BITS == 4 ? -offset_of_nibbles(compact + t * kStride, stored) : 0;
      sums.begin(t, offset);
    }
    sum_group<BITS, R, T>(codes, {compact, kStride}, stored, sums);
    codes += (stored + 3) / 4 * 4 * R * BITS / 8;
    const std::int64_t scale_at = (panel * m.scale_groups + g / m.form.groups_per_scale) * R;
    for (int q = 0; q < R / 4; ++q) {
      const float32x4_t scales = load_four_scales(m.scales, half, scale_at + 4 * q);
      for (int t = 0; t < T; ++t) {
        const float32x4_t factor = vmulq_n_f32(scales, in.scales[(token + t) * m.groups + g]);
        totals[t][q] = vfmaq_f32(totals[t][q], vcvtq_f32_s32(sums.sum(t, q)), factor);
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int q = 0; q < R / 4; ++q) {
      const std::int64_t row = panel * R + 4 * q;
      store_floats(y + (token + t) * m.rows + row, totals[t][q], m.rows - row);
    }
  }
}

/// Writes the next run of an unstructured row as `columns` signed codes, 0 where nothing is stored.
template <int BITS>
inline void expand_run(const std::uint8_t*& codes, const std::uint8_t* bitmap, int columns,
                       std::int8_t* out) {
  std::int8_t plain[64 + 8];
  if constexpr (BITS == 4) {
    for (int i = 0; i < columns; i += 16) {
      vst1q_s8(plain + i, vsubq_s8(vreinterpretq_s8_u8(widen_pairs(codes + i / 2)), vdupq_n_s8(8)));
    }
  }
  int stored = 0;
  for (int first = 0; first < columns; first += 8) {
    const std::uint8_t mask = bitmap[first / 8];
    const int8x8_t packed =
        BITS == 4 ? vld1_s8(plain + stored)
                  : vreinterpret_s8_u8(veor_u8(vld1_u8(codes + stored), vdup_n_u8(128)));
    vst1_s8(out + first, vtbl1_s8(packed, vreinterpret_s8_u8(vld1_u8(kShuffles.spread[mask]))));
    stored += __builtin_popcount(mask);
  }
  codes += BITS == 8 ? stored : (stored + 1) / 2;
}

/// Writes the four rows of a panel densely to scratch [4, stride].
template <int BITS>
void expand_panel(const PanelSparseView& m, std::int64_t panel, std::int64_t stride,
                  std::int8_t* scratch) {
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * kRows * m.bitmap_bytes;
  const int step = m.form.group < 64 ? m.form.group : 64;
  for (std::int64_t column = 0; column < m.groups * m.form.group; column += m.form.group) {
    for (int first = 0; first < m.form.group; first += step) {
      for (int r = 0; r < kRows; ++r) {
        expand_run<BITS>(codes, bitmap + r * m.bitmap_bytes + first / 8, step,
                         scratch + r * stride + column + first);
      }
    }
    bitmap += kRows * m.bitmap_bytes;
  }
}

/// One token against the four dense rows of `weights`.
void multiply_dense(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                    std::int64_t token, const std::int8_t* weights, float* y) {
  const int group_columns = m.form.group;
  const bool half = m.form.scale_type == ScaleType::Float16;
  float32x4_t totals = vdupq_n_f32(0);
  for (std::int64_t g = 0; g < m.groups; ++g) {
    int32x4_t sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = vdupq_n_s32(0);
    for (std::int64_t c = g * group_columns; c < (g + 1) * group_columns; c += 16) {
      const int8x16_t x = vld1q_s8(in.codes + token * in.stride + c);
      for (int r = 0; r < kRows; ++r) {
        sums[r] = vdotq_s32(sums[r], vld1q_s8(weights + r * in.stride + c), x);
      }
    }
    const int32x4_t sum = vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]));
    const std::int64_t scale_at = (panel * m.scale_groups + g / m.form.groups_per_scale) * kRows;
    const float32x4_t factors =
        vmulq_n_f32(load_four_scales(m.scales, half, scale_at), in.scales[token * m.groups + g]);
    totals = vfmaq_f32(totals, vcvtq_f32_s32(sum), factors);
  }
  store_floats(y + token * m.rows + panel * kRows, totals, m.rows - panel * kRows);
}

struct NeonPanels {
  template <int BITS>
  static void unstructured(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                           float* y, std::uint8_t* scratch) {
    auto* const rows = reinterpret_cast<std::int8_t*>(scratch);
    expand_panel<BITS>(m, panel, in.stride, rows);
    for (std::int64_t token = 0; token < in.tokens; ++token) {
      multiply_dense(m, in, panel, token, rows, y);
    }
  }

  template <int BITS, int R>
  static void shared_panel(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                           float* y, std::uint8_t* /*scratch*/) {
    std::int64_t token = 0;
    for (; token + 4 <= in.tokens; token += 4) multiply_shared<BITS, R, 4>(m, in, panel, token, y);
    for (; token < in.tokens; ++token) multiply_shared<BITS, R, 1>(m, in, panel, token, y);
  }
};

/// x[i ... i + 3], with 0 from `count` on.
inline float32x4_t load_part(const float* x, std::int64_t i, std::int64_t count) {
  if (i + 4 <= count) return vld1q_f32(x + i);
  float part[4] = {};
  for (std::int64_t j = i; j < count; ++j) part[j - i] = x[j];
  return vld1q_f32(part);
}

float quantize_group(const float* x, std::int64_t count, std::int64_t padded, std::int8_t* codes) {
  uint32x4_t largest = vdupq_n_u32(0);  // as bits, which order like the values
  for (std::int64_t i = 0; i < count; i += 4) {
    largest = vmaxq_u32(
        largest, vandq_u32(vreinterpretq_u32_f32(load_part(x, i, count)), vdupq_n_u32(0x7FFFFFFF)));
  }
  const std::uint32_t top = vmaxvq_u32(largest);
  float magnitude;
  __builtin_memcpy(&magnitude, &top, sizeof magnitude);
  const bool finite = top < 0x7F800000U;
  const bool zero = magnitude < 0x1p-100F;  // 127 / magnitude must stay finite
  const float factor = finite && !zero ? 127.0F / magnitude : 0;
  for (std::int64_t i = 0; i < padded; i += 8) {
    const auto round = [&](std::int64_t from) {
      const float32x4_t value = finite ? load_part(x, from, count) : vdupq_n_f32(0);
      return vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(value, factor)));
    };
    vst1_s8(codes + i, vmovn_s16(vcombine_s16(round(i), round(i + 4))));
  }
  if (!finite) return __builtin_nanf("");
  return zero ? 0 : magnitude / 127.0F;
}

}  // namespace

}  // namespace edgecompress
