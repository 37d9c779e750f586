// Shared by the files compiled for AVX-512; no other file may include it.
#pragma once

#include <immintrin.h>

#include "panel_sparse/kernels.h"

namespace edgecompress::avx512 {

inline constexpr int kRows = 4;  // of an unstructured panel
// The processor's own prefetcher stops at the end of every page and loses the short runs of
// unstructured rows.
inline constexpr int kPrefetchBytes = 2048;

template <typename T>
inline T load_any(const std::uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

inline __m512 load_scales(const std::uint8_t* scales, bool half, std::int64_t index, int count) {
  const __mmask16 lanes = static_cast<__mmask16>((1U << count) - 1);
  if (half) return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, scales + 2 * index));
  return _mm512_maskz_loadu_ps(lanes, scales + 4 * index);
}

/// Where the scales of a panel's groups lie, one group after the other. A division for each would
/// take as long as some ten products.
class ScaleIndex {
 public:
  ScaleIndex(const PanelSparseView& m, std::int64_t panel, int rows)
      : next_(panel * m.scale_groups * rows), rows_(rows), sharing_(m.form.groups_per_scale) {}

  std::int64_t next() {
    const std::int64_t index = next_;
    if (++used_ == sharing_) {
      used_ = 0;
      next_ += rows_;
    }
    return index;
  }

 private:
  std::int64_t next_;
  int rows_;
  std::int64_t sharing_;
  std::int64_t used_ = 0;
};

/// 64 consecutive 4-bit codes, stored two in a byte, as bytes of code + 8.
inline __m512i widen_pairs(const std::uint8_t* from) {
  const __m512i bytes =
      _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  // (bytes | bytes << 4) & 0x0F of every byte; 0xA8 is the truth table of (a | b) & c
  return _mm512_ternarylogic_epi32(bytes, _mm512_slli_epi16(bytes, 4), _mm512_set1_epi8(15), 0xA8);
}

template <int BITS>
inline __m512i offset_of_codes() {
  return _mm512_set1_epi8(static_cast<char>(BITS == 8 ? 128 : 8));
}

/// The sums of the lanes of four vectors, in this order.
inline __m128i sum_lanes(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i abcd =
      _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i two =
      _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

/// The 64 bytes of codes at `codes`; of 4 bits, calls for those further on. The processor's own
/// prefetcher keeps up with codes of 8 bits, which are multiplied as fast as they come: calling too
/// made them a quarter slower.
template <int BITS>
inline __m512i load_codes(const std::uint8_t* codes) {
  if constexpr (BITS == 8) return _mm512_loadu_si512(codes);
  _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes), _MM_HINT_T0);
  __m512i loaded = _mm512_loadu_si512(codes);
  asm("" : "+v"(loaded));  // or GCC loads it once for every use
  return loaded;
}

/// The next run of an unstructured row as 64 bytes of code + offset, with the offset where nothing
/// is stored.
template <int BITS>
inline __m512i expand_run(const std::uint8_t*& codes, std::uint64_t mask) {
  const __m512i offset = offset_of_codes<BITS>();
  const std::int64_t stored = _mm_popcnt_u64(mask);
  __m512i packed;
  if constexpr (BITS == 8) {
    packed = _mm512_loadu_si512(codes);
    codes += stored;
  } else {
    packed = widen_pairs(codes);
    codes += (stored + 1) / 2;
  }
  return _mm512_mask_expand_epi8(offset, mask, packed);
}

/// PanelKernel for many tokens: 16 rows are written out densely once and then multiplied with all
/// tokens. From about 16 tokens on, and up to two thirds of empty weights, this beats moving inputs
/// together for every token.
void multiply_tiles(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t first_panel,
                    std::int64_t last_panel, float* y, std::uint8_t* scratch);

/// As PanelKernel, with in.slots: for one token and panels of 16x4.
void multiply_quads_once(const PanelSparseView& m, const QuantizedInputs& in,
                         std::int64_t first_panel, std::int64_t last_panel, float* y);

/// PanelKernel for many tokens and panels of 16x4, which multiplies the stored quads alone: four
/// neighbouring inputs need not be moved together.
void multiply_quads(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t first_panel,
                    std::int64_t last_panel, float* y, std::uint8_t* scratch);

}  // namespace edgecompress::avx512
