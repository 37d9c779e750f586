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

/// Room for zeros behind the compacted inputs of a group.
constexpr int kZerosBehind = 128;

/// What compact_group found.
struct Compacted {
  int stored;       // inputs
  __m512i offsets;  // their lanes' sum: the offset of the codes * the sum of those inputs
};

/// Moves the inputs of stored columns of a group together, followed by ZEROS zeros.
template <int BITS, int ZEROS>
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
  for (int zeros = 0; zeros < ZEROS; zeros += 64) {
    _mm512_storeu_si512(out + stored + zeros, _mm512_setzero_si512());
  }
  return {stored, sums};
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

/// Adds the products of the quads from `first` to `last`, a multiple of STEP further on.
template <int STEP>
inline void add_quads(const std::uint8_t* codes, const std::int8_t* compact, int first, int last,
                      __m512i& even, __m512i& odd) {
  const __m512i low = _mm512_set1_epi8(15);
  for (int quad = first; quad < last; quad += STEP) {
    for (int i = quad; i < quad + STEP; i += 2) {
      const __m512i both = load_codes<4>(codes + 32 * i);
      const __m512i a = _mm512_and_si512(both, low);
      const __m512i b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      even = _mm512_dpbusd_epi32(even, a, step_inputs<16>(compact, i));
      odd = _mm512_dpbusd_epi32(odd, b, step_inputs<16>(compact, i + 1));
    }
  }
}

/// Quads of a group that sum_quads may do beyond those stored: codes of what follows, with inputs
/// of 0.
constexpr int kQuadsBeyond = kZerosBehind / 4;

/// Sums of (code + 8) * input over one group of a panel of 16 rows, for one token. How many quads a
/// group stores is different for each, and a loop that stopped there would be mispredicted nearly
/// every time; so this one does `usual` quads at once, which most groups do not exceed.
inline __m512i sum_quads(const std::uint8_t* codes, std::int8_t* compact, int stored, int usual) {
  const int whole = (stored + 3) / 4 / 2 * 2;
  // The quad behind the last pair, with inputs of 0 when there is none.
  const auto last = load_any<std::int32_t>(reinterpret_cast<std::uint8_t*>(compact) + 4 * whole);
  const std::int32_t none = 0;
  __builtin_memcpy(compact + 4 * whole, &none, sizeof none);
  __m512i even = _mm512_dpbusd_epi32(_mm512_setzero_si512(), widen_pairs(codes + 32 * whole),
                                     _mm512_set1_epi32(last));
  __m512i odd = _mm512_setzero_si512();
  add_quads<4>(codes, compact, 0, usual, even, odd);
  if (whole > usual) add_quads<8>(codes, compact, usual, whole, even, odd);
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
      const __m512i a = load_codes<BITS>(codes);
      const __m512i b = load_codes<BITS>(codes + 64);
      for (int t = 0; t < T; ++t) {
        even[t] = _mm512_dpbusd_epi32(even[t], a, step_inputs<R>(compact + t * stride, step));
        odd[t] = _mm512_dpbusd_epi32(odd[t], b, step_inputs<R>(compact + t * stride, step + 1));
      }
    }
    if (step < steps) {
      const __m512i a = load_codes<BITS>(codes);
      for (int t = 0; t < T; ++t) {
        even[t] = _mm512_dpbusd_epi32(even[t], a, step_inputs<R>(compact + t * stride, step));
      }
    }
  } else {
    const __m512i low = _mm512_set1_epi8(15);
    const int whole = quads * R * 4 / 128 * 2;
    for (; step < whole; step += 2, codes += 64) {
      const __m512i both = load_codes<BITS>(codes);
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

/// How many quads a group of the panel usually stores, as sum_quads wants it; 0 where that may not
/// read so far.
inline int usual_quads(const PanelSparseView& m, std::int64_t panel) {
  const auto begin = load_any<std::uint64_t>(m.starts + 8 * panel);
  const auto end = load_any<std::uint64_t>(m.starts + 8 * (panel + 1));
  const auto all = load_any<std::uint64_t>(m.starts + 8 * m.panels);
  if (end + 32 * kQuadsBeyond > all) return 0;
  const auto mean = static_cast<int>((end - begin) / 32 / static_cast<std::uint64_t>(m.groups));
  const int usual = (mean + 3) / 4 * 4 + 4;
  return usual < kQuadsBeyond ? usual : kQuadsBeyond;
}

/// The inputs of some groups for T tokens, moved together.
template <int R, int T>
struct CompactedInputs {
  static constexpr int kMostGroups = kChunkColumns<R> / 32;
  static constexpr int kStride = kChunkColumns<R> + kMostGroups * kZerosBehind;
  alignas(64) std::int8_t inputs[T * kStride];
  int stored[kMostGroups];
  alignas(16) std::int32_t offsets[T][kMostGroups];
};

/// Compacts groups [first, last) of the panel with the bitmaps at `bitmap`.
template <int BITS, int R, int T>
inline void compact_groups(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t token,
                           const std::uint8_t* bitmap, std::int64_t first, std::int64_t last,
                           CompactedInputs<R, T>& out) {
  constexpr int kZeros = BITS == 4 && R == 16 && T == 1 ? kZerosBehind : 64;  // as sum_quads wants
  const int group = m.form.group;
  for (int t = 0; t < T; ++t) {
    const std::int8_t* const inputs = in.codes + (token + t) * in.stride;
    std::int8_t* to = out.inputs + t * out.kStride;
    for (std::int64_t four = first; four < last; four += 4) {
      __m512i offsets[4];
      for (int i = 0; i < 4; ++i) {
        const std::int64_t g = four + i < last ? four + i : last - 1;
        const Compacted found = compact_group<BITS, kZeros>(
            inputs + g * group, bitmap + g * m.bitmap_bytes, group, m.form.column_block,
            to + (g - first) * (group + kZerosBehind));
        out.stored[g - first] = found.stored;
        offsets[i] = found.offsets;
      }
      _mm_store_si128(reinterpret_cast<__m128i*>(out.offsets[t] + (four - first)),
                      sum_lanes(offsets[0], offsets[1], offsets[2], offsets[3]));
    }
  }
}

template <int BITS, int R, int T>
void multiply_shared(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                     std::int64_t token, float* y) {
  const bool half = m.form.scale_type == ScaleType::Float16;
  const std::int64_t slot = m.form.group + kZerosBehind;
  const std::int64_t chunk_groups = kChunkColumns<R> / m.form.group;
  // Not cleared: each part is written before it is read.
  CompactedInputs<R, T> compact;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  ScaleIndex scale(m, panel, R);
  const int usual = BITS == 4 && R == 16 && T == 1 ? usual_quads(m, panel) : 0;
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * m.bitmap_bytes;
  __m512 totals[T];
  for (int t = 0; t < T; ++t) totals[t] = _mm512_setzero_ps();
  for (std::int64_t first = 0; first < m.groups; first += chunk_groups) {
    const std::int64_t last = first + chunk_groups < m.groups ? first + chunk_groups : m.groups;
    compact_groups<BITS, R, T>(m, in, token, bitmap, first, last, compact);
    for (std::int64_t g = first; g < last; ++g) {
      const int count = compact.stored[g - first];
      std::int8_t* const inputs = compact.inputs + (g - first) * slot;
      __m512i sums[T];
      if (usual > 0) {
        sums[0] = sum_quads(codes, inputs, count, usual);
      } else {
        sum_group<BITS, R, T>(codes, inputs, compact.kStride, count, sums);
      }
      codes += (count + 3) / 4 * 4 * R * BITS / 8;
      const __m512 scales = load_scales(m.scales, half, scale.next(), R);
      for (int t = 0; t < T; ++t) {
        const __m512 factor =
            _mm512_mul_ps(scales, _mm512_set1_ps(in.scales[(token + t) * m.groups + g]));
        const __m512i sum =
            _mm512_sub_epi32(sums[t], _mm512_set1_epi32(compact.offsets[t][g - first]));
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

/// The four scales from number `at` on.
inline __m128 load_four_scales(const PanelSparseView& m, std::int64_t at) {
  if (m.form.scale_type == ScaleType::Float16) {
    return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(m.scales + 2 * at)));
  }
  return _mm_loadu_ps(reinterpret_cast<const float*>(m.scales + 4 * at));
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
  ScaleIndex scale(m, panel, kRows);
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
    const __m128 factors = _mm_mul_ps(load_four_scales(m, scale.next()), _mm_set1_ps(in.scales[g]));
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
  if (in.slots != nullptr) return multiply_quads_once(m, in, first_panel, last_panel, y);
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
