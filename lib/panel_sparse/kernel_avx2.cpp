// Compiled with AVX2, FMA, F16C, BMI and POPCNT; called only on processors that have them.
#include "panel_sparse/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "panel_sparse/byte_shuffles.h"
#include "panel_sparse/exact_group.h"
#include "panel_sparse/panel_frame.h"

namespace edgecompress {
namespace {

constexpr int kRows = 4;             // of an unstructured panel
constexpr int kChunkColumns = 1024;  // compacted at a time
constexpr int kPrefetchBytes = 2048;
constexpr int kStepsIn16Bits = 8;  // 8 sums of two products of at most 15 * 127 stay below 2^15

template <typename T>
inline T load_any(const std::uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

inline __m256i load32(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}
inline __m128i load8(const void* from) {
  return _mm_loadl_epi64(static_cast<const __m128i*>(from));
}

/// Calls for the codes that follow from memory, as in avx512_common.h.
inline void prefetch_codes(const std::uint8_t* codes) {
  _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes), _MM_HINT_T0);
}

/// 32 consecutive 4-bit codes, stored two in a byte, as bytes of code + 8.
inline __m256i widen_pairs(const std::uint8_t* from) {
  const __m256i bytes =
      _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return _mm256_and_si256(_mm256_or_si256(bytes, _mm256_slli_epi16(bytes, 4)),
                          _mm256_set1_epi8(15));
}

/// Moves the inputs of stored columns of a group together, followed by 64 zeros. Returns how many
/// there are.
inline int compact_group(const std::int8_t* inputs, const std::uint8_t* bitmap, int group,
                         int column_block, std::int8_t* out) {
  int stored = 0;
  if (column_block == 1) {
    for (int first = 0; first < group; first += 8) {
      const std::uint8_t mask = bitmap[first / 8];
      const __m128i x = _mm_shuffle_epi8(load8(inputs + first), load8(kShuffles.squeeze[mask]));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + stored), x);
      stored += _mm_popcnt_u32(mask);
    }
  } else {
    for (int first = 0; first < group; first += 32) {
      const std::uint8_t mask = bitmap[first / 32];
      const __m256i order = _mm256_cvtepu8_epi32(load8(kShuffles.squeeze[mask]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + stored),
                          _mm256_permutevar8x32_epi32(load32(inputs + first), order));
      stored += 4 * _mm_popcnt_u32(mask);
    }
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + stored), _mm256_setzero_si256());
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + stored + 32), _mm256_setzero_si256());
  return stored;
}

struct Pair {
  __m256i low, high;  // the inputs for lanes 0 ... 7 and 8 ... 15
};

/// The inputs of step `step` (64 codes): the four inputs of a quad, repeated over the lanes that
/// multiply it.
template <int R>
inline Pair step_inputs(const std::int8_t* compact, int step) {
  const auto* const from = reinterpret_cast<const std::uint8_t*>(compact);
  if constexpr (R == 16) {
    const __m256i quad = _mm256_set1_epi32(load_any<std::int32_t>(from + 4 * step));
    return {quad, quad};
  } else if constexpr (R == 8) {
    return {_mm256_set1_epi32(load_any<std::int32_t>(from + 8 * step)),
            _mm256_set1_epi32(load_any<std::int32_t>(from + 8 * step + 4))};
  } else {
    const __m256i quads =
        _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 16 * step)));
    return {_mm256_permutevar8x32_epi32(quads, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)),
            _mm256_permutevar8x32_epi32(quads, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3))};
  }
}

/// 8 * the sum of `stored` inputs, in every lane.
inline __m256i offset_of_nibbles(const std::int8_t* compact, int stored) {
  __m256i sums = _mm256_setzero_si256();
  for (int i = 0; i < stored; i += 32) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(8), load32(compact + i));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  sums = _mm256_add_epi32(sums, _mm256_permute2x128_si256(sums, sums, 1));
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4E));
  return _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xB1));
}

/// sum + |w| * (x with the sign of w), four neighbours to a lane. |w| <= 128 and |x| <= 127, so the
/// 16-bit sum of two products does not saturate.
inline __m256i add_products(__m256i sum, __m256i w, __m256i magnitude, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, w));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

template <int R, int T>
inline void sum_bytes(const std::uint8_t* codes, const std::int8_t* compact, std::int64_t stride,
                      int stored, Pair* sums) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(128));
  const int steps = (stored + 64 / R - 1) / (64 / R);
  for (int step = 0; step < steps; ++step, codes += 64) {
    const __m256i a = _mm256_xor_si256(load32(codes), flip);
    const __m256i b = _mm256_xor_si256(load32(codes + 32), flip);
    const __m256i size_a = _mm256_abs_epi8(a);
    const __m256i size_b = _mm256_abs_epi8(b);
    for (int t = 0; t < T; ++t) {
      const Pair x = step_inputs<R>(compact + t * stride, step);
      sums[t].low = add_products(sums[t].low, a, size_a, x.low);
      sums[t].high = add_products(sums[t].high, b, size_b, x.high);
    }
  }
}

template <int R, int T>
inline void add_nibbles(__m256i a, __m256i b, const std::int8_t* compact, std::int64_t stride,
                        int step, Pair* narrow) {
  for (int t = 0; t < T; ++t) {
    const Pair x = step_inputs<R>(compact + t * stride, step);
    narrow[t].low = _mm256_add_epi16(narrow[t].low, _mm256_maddubs_epi16(a, x.low));
    narrow[t].high = _mm256_add_epi16(narrow[t].high, _mm256_maddubs_epi16(b, x.high));
  }
}

template <int T>
inline void widen_sums(Pair* narrow, Pair* sums) {
  const __m256i one = _mm256_set1_epi16(1);
  for (int t = 0; t < T; ++t) {
    sums[t].low = _mm256_add_epi32(sums[t].low, _mm256_madd_epi16(narrow[t].low, one));
    sums[t].high = _mm256_add_epi32(sums[t].high, _mm256_madd_epi16(narrow[t].high, one));
    narrow[t] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  }
}

template <int R, int T>
inline void sum_nibbles(const std::uint8_t* codes, const std::int8_t* compact, std::int64_t stride,
                        int stored, Pair* sums) {
  const __m256i low = _mm256_set1_epi8(15);
  const int steps = (stored + 64 / R - 1) / (64 / R);
  const int whole = (stored + 3) / 4 * R * 4 / 128 * 2;
  Pair narrow[T];
  for (int t = 0; t < T; ++t) narrow[t] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  int step = 0;
  while (step < whole) {
    const int pause = step + kStepsIn16Bits < whole ? step + kStepsIn16Bits : whole;
    for (; step < pause; step += 2, codes += 64) {
      prefetch_codes(codes);
      const __m256i a = load32(codes);
      const __m256i b = load32(codes + 32);
      add_nibbles<R, T>(_mm256_and_si256(a, low), _mm256_and_si256(b, low), compact, stride, step,
                        narrow);
      add_nibbles<R, T>(_mm256_and_si256(_mm256_srli_epi16(a, 4), low),
                        _mm256_and_si256(_mm256_srli_epi16(b, 4), low), compact, stride, step + 1,
                        narrow);
    }
    widen_sums<T>(narrow, sums);
  }
  for (; step < steps; ++step, codes += 32) {  // at most two
    add_nibbles<R, T>(widen_pairs(codes), widen_pairs(codes + 16), compact, stride, step, narrow);
  }
  widen_sums<T>(narrow, sums);
}

/// Adds the lanes of different quads, so that lane r of `low` (and r - 8 of `high`) holds row r.
template <int R>
inline Pair fold_quads(Pair sums) {
  if constexpr (R == 16) return sums;
  __m256i low = _mm256_add_epi32(sums.low, sums.high);
  if constexpr (R == 4) low = _mm256_add_epi32(low, _mm256_permute2x128_si256(low, low, 1));
  return {low, low};
}

inline __m256 load_scales(const std::uint8_t* scales, bool half, std::int64_t index, int count) {
  if (half) {
    const std::uint8_t* const from = scales + 2 * index;
    return _mm256_cvtph_ps(count == 4 ? load8(from)
                                      : _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  const auto* const from = reinterpret_cast<const float*>(scales + 4 * index);
  return count == 4 ? _mm256_castps128_ps256(_mm_loadu_ps(from)) : _mm256_loadu_ps(from);
}

/// Writes `count` (at most 8) floats.
inline void store_floats(float* to, __m256 values, std::int64_t count) {
  if (count >= 8) {
    _mm256_storeu_ps(to, values);
    return;
  }
  alignas(32) float kept[8];
  _mm256_store_ps(kept, values);
  for (std::int64_t i = 0; i < count; ++i) to[i] = kept[i];
}

template <int BITS, int R, int T>
void multiply_shared(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                     std::int64_t token, float* y) {
  constexpr int kHalves = R == 16 ? 2 : 1;
  constexpr int kWidth = R < 8 ? R : 8;
  constexpr std::int64_t kStride = kChunkColumns + 128;
  const int group_columns = m.form.group;
  const bool half = m.form.scale_type == ScaleType::Float16;
  const std::int64_t slot = group_columns < 64 ? 64 : group_columns;
  const std::int64_t chunk_groups = kChunkColumns / slot;
  alignas(32) std::int8_t compact[T * kStride];
  int stored[kChunkColumns / 64];
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * m.bitmap_bytes;
  __m256 totals[T][kHalves];
  for (int t = 0; t < T; ++t) {
    for (int h = 0; h < kHalves; ++h) totals[t][h] = _mm256_setzero_ps();
  }
  for (std::int64_t first = 0; first < m.groups; first += chunk_groups) {
    const std::int64_t last = first + chunk_groups < m.groups ? first + chunk_groups : m.groups;
    for (std::int64_t g = first; g < last; ++g) {
      for (int t = 0; t < T; ++t) {
        stored[g - first] = compact_group(
            in.codes + (token + t) * in.stride + g * group_columns, bitmap + g * m.bitmap_bytes,
            group_columns, m.form.column_block, compact + t * kStride + (g - first) * slot);
      }
    }
    for (std::int64_t g = first; g < last; ++g) {
      const int count = stored[g - first];
      Pair sums[T];
      for (int t = 0; t < T; ++t) sums[t] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
      const std::int8_t* const inputs = compact + (g - first) * slot;
      if constexpr (BITS == 8) {
        sum_bytes<R, T>(codes, inputs, kStride, count, sums);
      } else {
        sum_nibbles<R, T>(codes, inputs, kStride, count, sums);
      }
      codes += (count + 3) / 4 * 4 * R * BITS / 8;
      const std::int64_t scale_at = (panel * m.scale_groups + g / m.form.groups_per_scale) * R;
      for (int t = 0; t < T; ++t) {
        Pair folded = fold_quads<R>(sums[t]);
        if constexpr (BITS == 4) {
          const __m256i offset = offset_of_nibbles(inputs + t * kStride, count);
          folded = {_mm256_sub_epi32(folded.low, offset), _mm256_sub_epi32(folded.high, offset)};
        }
        const __m256 input_scale = _mm256_set1_ps(in.scales[(token + t) * m.groups + g]);
        for (int h = 0; h < kHalves; ++h) {
          const __m256 factor =
              _mm256_mul_ps(load_scales(m.scales, half, scale_at + 8 * h, kWidth), input_scale);
          totals[t][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(h == 0 ? folded.low : folded.high),
                                         factor, totals[t][h]);
        }
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int h = 0; h < kHalves; ++h) {
      const std::int64_t row = panel * R + 8 * h;
      const std::int64_t left = m.rows - row;
      store_floats(y + (token + t) * m.rows + row, totals[t][h], left < kWidth ? left : kWidth);
    }
  }
}

/// Writes the next run of an unstructured row as `columns` signed codes, 0 where nothing is stored.
template <int BITS>
inline void expand_run(const std::uint8_t*& codes, const std::uint8_t* bitmap, int columns,
                       std::uint8_t* out) {
  alignas(32) std::uint8_t plain[64 + 8];
  const std::uint8_t* from = codes;
  if constexpr (BITS == 4) {
    for (int i = 0; i < columns; i += 32) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(plain + i),
                         _mm256_sub_epi8(widen_pairs(codes + i / 2), _mm256_set1_epi8(8)));
    }
    from = plain;
  }
  int stored = 0;
  for (int first = 0; first < columns; first += 8) {
    const std::uint8_t mask = bitmap[first / 8];
    __m128i packed = load8(from + stored);
    if constexpr (BITS == 8) {
      packed = _mm_xor_si128(packed, _mm_set1_epi8(static_cast<char>(128)));
    }
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + first),
                     _mm_shuffle_epi8(packed, load8(kShuffles.spread[mask])));
    stored += _mm_popcnt_u32(mask);
  }
  codes += BITS == 8 ? stored : (stored + 1) / 2;
}

/// Writes the four rows of a panel densely to scratch [4, stride].
template <int BITS>
void expand_panel(const PanelSparseView& m, std::int64_t panel, std::int64_t stride,
                  std::uint8_t* scratch) {
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * kRows * m.bitmap_bytes;
  const int step = m.form.group < 64 ? m.form.group : 64;
  for (std::int64_t column = 0; column < m.groups * m.form.group; column += m.form.group) {
    for (int first = 0; first < m.form.group; first += step) {
      for (int r = 0; r < kRows; ++r) {
        prefetch_codes(codes);
        expand_run<BITS>(codes, bitmap + r * m.bitmap_bytes + first / 8, step,
                         scratch + r * stride + column + first);
      }
    }
    bitmap += kRows * m.bitmap_bytes;
  }
}

/// The sums of the lanes of four vectors, in this order.
inline __m128i sum_lanes(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

/// One token against the four dense rows of `weights`.
void multiply_dense(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                    std::int64_t token, const std::uint8_t* weights, float* y) {
  const int group_columns = m.form.group;
  const bool half = m.form.scale_type == ScaleType::Float16;
  const std::uint8_t* const row1 = weights + in.stride;
  const std::uint8_t* const row2 = row1 + in.stride;
  const std::uint8_t* const row3 = row2 + in.stride;
  __m128 totals = _mm_setzero_ps();
  for (std::int64_t g = 0; g < m.groups; ++g) {
    __m256i sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
    for (std::int64_t c = g * group_columns; c < (g + 1) * group_columns; c += 32) {
      const __m256i x = load32(in.codes + token * in.stride + c);
      const __m256i w[kRows] = {load32(weights + c), load32(row1 + c), load32(row2 + c),
                                load32(row3 + c)};
      for (int r = 0; r < kRows; ++r) {
        sums[r] = add_products(sums[r], w[r], _mm256_abs_epi8(w[r]), x);
      }
    }
    const std::int64_t scale_at = (panel * m.scale_groups + g / m.form.groups_per_scale) * kRows;
    const __m128 factors =
        _mm_mul_ps(_mm256_castps256_ps128(load_scales(m.scales, half, scale_at, kRows)),
                   _mm_set1_ps(in.scales[token * m.groups + g]));
    totals = _mm_fmadd_ps(_mm_cvtepi32_ps(sum_lanes(sums[0], sums[1], sums[2], sums[3])), factors,
                          totals);
  }
  store_floats(y + token * m.rows + panel * kRows, _mm256_castps128_ps256(totals),
               m.rows - panel * kRows < kRows ? m.rows - panel * kRows : kRows);
}

struct Avx2Panels {
  template <int BITS>
  static void unstructured(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                           float* y, std::uint8_t* scratch) {
    expand_panel<BITS>(m, panel, in.stride, scratch);
    for (std::int64_t token = 0; token < in.tokens; ++token) {
      multiply_dense(m, in, panel, token, scratch, y);
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

float quantize_group(const float* x, std::int64_t count, std::int64_t padded, std::int8_t* codes) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const auto load_part = [&](std::int64_t i) {
    const __m256i inside =
        _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count > i ? count - i : 0)), lanes);
    return _mm256_maskload_ps(x + i, inside);
  };
  __m256i largest = _mm256_setzero_si256();
  for (std::int64_t i = 0; i < count; i += 8) {
    largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(load_part(i)),
                                                         _mm256_set1_epi32(0x7FFFFFFF)));
  }
  alignas(32) std::uint32_t each[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(each), largest);
  std::uint32_t top = 0;
  for (const std::uint32_t one : each) top = one > top ? one : top;
  float magnitude = 0;
  __builtin_memcpy(&magnitude, &top, sizeof magnitude);
  const bool finite = top < 0x7F800000U;
  const bool zero = magnitude < 0x1p-100F;  // 127 / magnitude must stay finite
  const __m256 factor = _mm256_set1_ps(finite && !zero ? 127.0F / magnitude : 0);
  for (std::int64_t i = 0; i < padded; i += 8) {
    const __m256 value = finite ? load_part(i) : _mm256_setzero_ps();
    const __m256i code = _mm256_cvtps_epi32(_mm256_mul_ps(value, factor));
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(codes + i), _mm_packs_epi16(words, words));
  }
  if (!finite) return __builtin_nanf("");
  return zero ? 0 : magnitude / 127.0F;
}

}  // namespace

KernelSet avx2_kernels() { return {multiply_panels<Avx2Panels>, quantize_group, add_exact_group}; }

}  // namespace edgecompress

#endif
