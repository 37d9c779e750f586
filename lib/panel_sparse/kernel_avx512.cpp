// Compiled with AVX-512 F, BW, VL, VNNI and VBMI2 (and FMA); called only on processors that have
// them.
#include "panel_sparse/kernels.h"

#if defined(__x86_64__)
#include "panel_sparse/avx512_common.h"
#include "panel_sparse/exact_group.h"
#include "panel_sparse/panel_frame.h"

namespace edgecompress {

using namespace avx512;

namespace {

/// Inputs compacted at a time for panels of R rows. More would leave memory idle while they are
/// moved together, fewer would make loads wait for the stores just before; both measured.
template <int R>
constexpr int kChunkColumns = R == 16 ? 512 : 1024;

/// What compact_group found.
struct Compacted {
  int stored;           // inputs
  std::int32_t offset;  // of the codes * the sum of those inputs
};

/// Moves the inputs of stored columns of a group together, followed by 64 zeros.
template <int BITS>
inline Compacted compact_group(const std::int8_t* inputs, const std::uint8_t* bitmap, int group,
                               int column_block, std::int8_t* out) {
  int stored = 0;
  __m512i sums = _mm512_setzero_si512();
  const auto put = [&](__m512i together) {
    _mm512_storeu_si512(out + stored, together);
    sums = _mm512_dpbusd_epi32(sums, offset_of_codes<BITS>(), together);
  };
  for (int first = 0; first < group; first += 64) {
    const __m512i x = _mm512_loadu_si512(inputs + first);
    if (column_block == 1) {
      const std::uint64_t mask = group == 32 ? load_any<std::uint32_t>(bitmap)
                                             : load_any<std::uint64_t>(bitmap + first / 8);
      put(_mm512_maskz_compress_epi8(mask, x));
      stored += static_cast<int>(_mm_popcnt_u64(mask));
    } else {
      const std::uint32_t mask =
          group == 32 ? bitmap[0] : load_any<std::uint16_t>(bitmap + first / 32);
      put(_mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), x));
      stored += 4 * static_cast<int>(_mm_popcnt_u32(mask));
    }
  }
  _mm512_storeu_si512(out + stored, _mm512_setzero_si512());
  return {stored, _mm512_reduce_add_epi32(sums)};
}

/// The inputs of step `step` (64 codes): the four inputs of a quad, repeated over the lanes that
/// multiply it.
template <int R>
inline __m512i step_inputs(const std::int8_t* compact, int step) {
  if constexpr (R == 16) {
    return _mm512_set1_epi32(
        load_any<std::int32_t>(reinterpret_cast<const std::uint8_t*>(compact) + 4 * step));
  } else if constexpr (R == 8) {
    const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    return _mm512_permutexvar_epi32(
        order, _mm512_castsi128_si512(
                   _mm_loadl_epi64(reinterpret_cast<const __m128i*>(compact + 8 * step))));
  } else {
    const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_permutexvar_epi32(
        order, _mm512_castsi128_si512(
                   _mm_loadu_si128(reinterpret_cast<const __m128i*>(compact + 16 * step))));
  }
}

/// Adds the lanes of different quads, so that lane r holds row r.
template <int R>
inline __m512i fold_quads(__m512i sums) {
  if constexpr (R <= 8) sums = _mm512_add_epi32(sums, _mm512_shuffle_i64x2(sums, sums, 0x4E));
  if constexpr (R <= 4) sums = _mm512_add_epi32(sums, _mm512_shuffle_i64x2(sums, sums, 0xB1));
  return sums;
}

/// Bytes of codes that sum_quads may read behind a group.
constexpr std::int64_t kQuadsAhead = 256;

/// Sums of (code + 8) * input over one group of a panel of 16 rows, for one token. How many quads a
/// group stores is different for each, and a loop that stopped there would be mispredicted nearly
/// every time; so this one does eight quads at once and meets zero inputs at its end.
inline __m512i sum_quads(const std::uint8_t* codes, std::int8_t* compact, int stored) {
  const int whole = (stored + 3) / 4 / 2 * 2;
  // The quad behind the last pair, with inputs of 0 when there is none.
  const auto last = load_any<std::int32_t>(reinterpret_cast<std::uint8_t*>(compact) + 4 * whole);
  const std::int32_t none = 0;
  __builtin_memcpy(compact + 4 * whole, &none, sizeof none);
  const __m512i low = _mm512_set1_epi8(15);
  __m512i even = _mm512_dpbusd_epi32(_mm512_setzero_si512(), widen_pairs(codes + 32 * whole),
                                     _mm512_set1_epi32(last));
  __m512i odd = _mm512_setzero_si512();
  for (int quad = 0; quad < whole; quad += 8, codes += 256) {
    for (int pair = 0; pair < 4; ++pair) {
      const __m512i both = _mm512_loadu_si512(codes + 64 * pair);
      const __m512i a = _mm512_and_si512(both, low);
      const __m512i b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      even = _mm512_dpbusd_epi32(even, a, step_inputs<16>(compact, quad + 2 * pair));
      odd = _mm512_dpbusd_epi32(odd, b, step_inputs<16>(compact, quad + 2 * pair + 1));
    }
  }
  return _mm512_add_epi32(even, odd);
}

/// Sums of (code + offset) * input over one group for T tokens.
template <int BITS, int R, int T>
inline void sum_group(const std::uint8_t* codes, const std::int8_t* compact, std::int64_t stride,
                      int stored, __m512i* sums) {
  constexpr int kStepColumns = 64 / R;
  const int quads = (stored + 3) / 4;
  const int steps = (stored + kStepColumns - 1) / kStepColumns;
  __m512i even[T], odd[T];
  for (int t = 0; t < T; ++t) even[t] = odd[t] = _mm512_setzero_si512();
  int step = 0;
  if constexpr (BITS == 8) {
    for (; step + 2 <= steps; step += 2, codes += 128) {
      const __m512i a = _mm512_loadu_si512(codes);
      const __m512i b = _mm512_loadu_si512(codes + 64);
      for (int t = 0; t < T; ++t) {
        even[t] = _mm512_dpbusd_epi32(even[t], a, step_inputs<R>(compact + t * stride, step));
        odd[t] = _mm512_dpbusd_epi32(odd[t], b, step_inputs<R>(compact + t * stride, step + 1));
      }
    }
    if (step < steps) {
      const __m512i a = _mm512_loadu_si512(codes);
      for (int t = 0; t < T; ++t) {
        even[t] = _mm512_dpbusd_epi32(even[t], a, step_inputs<R>(compact + t * stride, step));
      }
    }
  } else {
    const __m512i low = _mm512_set1_epi8(15);
    const int whole = quads * R * 4 / 128 * 2;
    for (; step < whole; step += 2, codes += 64) {
      const __m512i both = _mm512_loadu_si512(codes);
      const __m512i a = _mm512_and_si512(both, low);
      const __m512i b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      for (int t = 0; t < T; ++t) {
        even[t] = _mm512_dpbusd_epi32(even[t], a, step_inputs<R>(compact + t * stride, step));
        odd[t] = _mm512_dpbusd_epi32(odd[t], b, step_inputs<R>(compact + t * stride, step + 1));
      }
    }
    for (; step < steps; ++step, codes += 32) {
      const __m512i a = widen_pairs(codes);
      for (int t = 0; t < T; ++t) {
        even[t] = _mm512_dpbusd_epi32(even[t], a, step_inputs<R>(compact + t * stride, step));
      }
    }
  }
  for (int t = 0; t < T; ++t) sums[t] = fold_quads<R>(_mm512_add_epi32(even[t], odd[t]));
}

template <int BITS, int R, int T>
void multiply_shared(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                     std::int64_t token, float* y) {
  const int group_columns = m.form.group;
  const bool half = m.form.scale_type == ScaleType::Float16;
  const std::int64_t slot =
      group_columns < 64 ? 64 : group_columns;  // so that no tail reads the next slot
  const std::int64_t chunk_groups = kChunkColumns<R> / slot;
  constexpr std::int64_t kStride = kChunkColumns<R> + 128;
  alignas(64) std::int8_t compact[T * kStride];
  Compacted compacted[T][kChunkColumns<R> / 64];
  const bool ahead = load_any<std::uint64_t>(m.starts + 8 * (panel + 1)) + kQuadsAhead <=
                     load_any<std::uint64_t>(m.starts + 8 * m.panels);
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * m.bitmap_bytes;
  __m512 totals[T];
  for (int t = 0; t < T; ++t) totals[t] = _mm512_setzero_ps();
  for (std::int64_t first = 0; first < m.groups; first += chunk_groups) {
    const std::int64_t last = first + chunk_groups < m.groups ? first + chunk_groups : m.groups;
    for (std::int64_t g = first; g < last; ++g) {
      for (int t = 0; t < T; ++t) {
        compacted[t][g - first] = compact_group<BITS>(
            in.codes + (token + t) * in.stride + g * group_columns, bitmap + g * m.bitmap_bytes,
            group_columns, m.form.column_block, compact + t * kStride + (g - first) * slot);
      }
    }
    for (std::int64_t g = first; g < last; ++g) {
      const int count = compacted[0][g - first].stored;
      std::int8_t* const inputs = compact + (g - first) * slot;
      __m512i sums[T];
      if (BITS == 4 && R == 16 && T == 1 && ahead) {
        sums[0] = sum_quads(codes, inputs, count);
      } else {
        sum_group<BITS, R, T>(codes, inputs, kStride, count, sums);
      }
      codes += (count + 3) / 4 * 4 * R * BITS / 8;
      const __m512 scales = load_scales(
          m.scales, half, (panel * m.scale_groups + g / m.form.groups_per_scale) * R, R);
      for (int t = 0; t < T; ++t) {
        const __m512 factor =
            _mm512_mul_ps(scales, _mm512_set1_ps(in.scales[(token + t) * m.groups + g]));
        const __m512i sum =
            _mm512_sub_epi32(sums[t], _mm512_set1_epi32(compacted[t][g - first].offset));
        totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, totals[t]);
      }
    }
  }
  const std::int64_t left = m.rows - panel * R;
  const __mmask16 rows = static_cast<__mmask16>((1U << (left < R ? left : R)) - 1);
  for (int t = 0; t < T; ++t) {
    _mm512_mask_storeu_ps(y + (token + t) * m.rows + panel * R, rows, totals[t]);
  }
}

/// The scales of the four rows of panel `panel` for group `g`.
inline __m128 load_four_scales(const PanelSparseView& m, std::int64_t panel, std::int64_t g) {
  const std::int64_t at = (panel * m.scale_groups + g / m.form.groups_per_scale) * kRows;
  if (m.form.scale_type == ScaleType::Float16) {
    return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(m.scales + 2 * at)));
  }
  return _mm_loadu_ps(reinterpret_cast<const float*>(m.scales + 4 * at));
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

/// A panel of four unstructured rows for one token; WORDS runs of 64 columns in a group, 0: one
/// of 32.
template <int BITS, int WORDS>
void multiply_rows(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                   float* y) {
  constexpr int kRuns = WORDS == 0 ? 1 : WORDS;
  constexpr int kBitmapBytes = WORDS == 0 ? 4 : WORDS * 8;
  const std::int8_t* inputs = in.codes;
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * kRows * kBitmapBytes;
  __m128 totals = _mm_setzero_ps();
  for (std::int64_t g = 0; g < m.groups; ++g) {
    __m512i sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_si512();
    for (int run = 0; run < kRuns; ++run) {
      const __m512i x =
          WORDS == 0
              ? _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(inputs)))
              : _mm512_loadu_si512(inputs + run * 64);
      for (int r = 0; r < kRows; ++r) {
        const std::uint8_t* const bits = bitmap + r * kBitmapBytes + run * 8;
        const std::uint64_t mask =
            WORDS == 0 ? load_any<std::uint32_t>(bits) : load_any<std::uint64_t>(bits);
        sums[r] = _mm512_dpbusd_epi32(sums[r], expand_run<BITS>(codes, mask), x);
      }
      for (int line = 0; line < BITS / 4; ++line) {  // what four rows of half-empty runs take
        _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes + 64 * line),
                     _MM_HINT_T0);
      }
    }
    inputs += m.form.group;
    bitmap += kRows * kBitmapBytes;
    const __m128 factors = _mm_mul_ps(load_four_scales(m, panel, g), _mm_set1_ps(in.scales[g]));
    const __m128i sum =
        _mm_add_epi32(sum_lanes(sums[0], sums[1], sums[2], sums[3]), _mm_set1_epi32(in.offsets[g]));
    totals = _mm_fmadd_ps(_mm_cvtepi32_ps(sum), factors, totals);
  }
  const std::int64_t left = m.rows - panel * kRows;
  _mm_mask_storeu_ps(y + panel * kRows,
                     static_cast<__mmask8>((1U << (left < kRows ? left : kRows)) - 1), totals);
}

struct Avx512Panels {
  template <int BITS>
  static void unstructured(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                           float* y, std::uint8_t* /*scratch*/) {
    switch (m.form.group) {
      case 32:
        return multiply_rows<BITS, 0>(m, in, panel, y);
      case 64:
        return multiply_rows<BITS, 1>(m, in, panel, y);
      case 128:
        return multiply_rows<BITS, 2>(m, in, panel, y);
      default:
        return multiply_rows<BITS, 4>(m, in, panel, y);
    }
  }

  template <int BITS, int R>
  static void shared_panel(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                           float* y, std::uint8_t* /*scratch*/) {
    std::int64_t token = 0;
    for (; token + 8 <= in.tokens; token += 8) multiply_shared<BITS, R, 8>(m, in, panel, token, y);
    for (; token + 2 <= in.tokens; token += 2) multiply_shared<BITS, R, 2>(m, in, panel, token, y);
    if (token < in.tokens) multiply_shared<BITS, R, 1>(m, in, panel, token, y);
  }
};

/// Whether writing the panels out densely pays.
bool use_tiles(const PanelSparseView& m, const QuantizedInputs& in) {
  return m.form.shared_rows == 1 ? in.tokens > 1 : in.tokens >= kManyTokens;
}

void multiply(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t first_panel,
              std::int64_t last_panel, float* y, std::uint8_t* scratch) {
  if (in.biased != nullptr) return multiply_quads(m, in, first_panel, last_panel, y, scratch);
  if (use_tiles(m, in)) return multiply_tiles(m, in, first_panel, last_panel, y, scratch);
  multiply_panels<Avx512Panels>(m, in, first_panel, last_panel, y, scratch);
}

float quantize_group(const float* x, std::int64_t count, std::int64_t padded, std::int8_t* codes) {
  const __m512i magnitude_bits = _mm512_set1_epi32(0x7FFFFFFF);
  __m512i largest = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < count; i += 16) {
    const std::int64_t left = count - i;
    const __mmask16 lanes = static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1U << left) - 1);
    const __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, x + i));
    largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, magnitude_bits));
  }
  const std::uint32_t top = _mm512_reduce_max_epu32(largest);
  float magnitude = 0;
  __builtin_memcpy(&magnitude, &top, sizeof magnitude);
  const bool finite = top < 0x7F800000U;
  const bool zero = magnitude < 0x1p-100F;  // 127 / magnitude must stay finite
  const __m512 factor = _mm512_set1_ps(!finite || zero ? 0 : 127.0F / magnitude);
  for (std::int64_t i = 0; i < padded; i += 16) {
    const std::int64_t left = count > i ? count - i : 0;
    const __mmask16 lanes = static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1U << left) - 1);
    const __m512 value = finite ? _mm512_maskz_loadu_ps(lanes, x + i) : _mm512_setzero_ps();
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i),
                     _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(value, factor))));
  }
  if (!finite) return __builtin_nanf("");
  return zero ? 0 : magnitude / 127.0F;
}

}  // namespace

KernelSet avx512_kernels() { return {multiply, quantize_group, add_exact_group}; }

}  // namespace edgecompress

#endif
