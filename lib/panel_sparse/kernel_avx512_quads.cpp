// Products of 16x4 panels with many tokens. Compiled with AVX-512 as kernel_avx512.cpp.
#include "panel_sparse/kernels.h"

#if defined(__x86_64__)
#include "panel_sparse/avx512_common.h"

namespace edgecompress::avx512 {
namespace {

constexpr int kPanelRows = 16;
constexpr int kQuadBytes = 64;
constexpr int kTokens = 12;  // with as many running totals, what the 32 registers hold

/// The stored quads of a panel, taken out of their nibbles once for all tokens.
struct QuadPanel {
  std::int8_t* weights;          // [quads, 16, 4], signed codes
  std::int32_t* columns;         // [quads], of the matrix
  std::int32_t* offsets;         // [groups, 16], -128 * the sum of the group's codes of the row
  float* scales;                 // [groups, 16]
  std::int32_t* quads_in_group;  // [groups]
};

/// Where the parts of a panel lie in a thread's scratch memory.
QuadPanel place(const PanelSparseView& m, std::uint8_t* scratch) {
  const std::int64_t columns = m.groups * m.form.group;
  QuadPanel panel{};
  panel.scales = reinterpret_cast<float*>(scratch);
  panel.offsets = reinterpret_cast<std::int32_t*>(panel.scales + m.groups * kPanelRows);
  panel.quads_in_group = panel.offsets + m.groups * kPanelRows;
  panel.columns = panel.quads_in_group + m.groups;
  panel.weights = reinterpret_cast<std::int8_t*>(panel.columns + columns / 4);
  return panel;
}

/// Quad number `quad` of `quads` as code + offset.
template <int BITS>
inline __m512i load_quad(const std::uint8_t* codes, int quad, int quads) {
  if constexpr (BITS == 8) return _mm512_loadu_si512(codes + kQuadBytes * quad);
  if (quad >= quads / 2 * 2) return widen_pairs(codes + kQuadBytes / 2 * quad);
  const __m512i both = _mm512_loadu_si512(codes + quad / 2 * kQuadBytes);
  return _mm512_and_si512(quad % 2 == 0 ? both : _mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
}

template <int BITS>
void unpack(const PanelSparseView& m, std::int64_t number, const QuadPanel& panel) {
  const bool half = m.form.scale_type == ScaleType::Float16;
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * number);
  std::int32_t* columns = panel.columns;
  std::int8_t* weights = panel.weights;
  for (std::int64_t g = 0; g < m.groups; ++g) {
    const std::uint8_t* const bitmap = m.bitmaps + (number * m.groups + g) * m.bitmap_bytes;
    std::uint64_t left = 0;  // a group has at most 64 blocks
    __builtin_memcpy(&left, bitmap, static_cast<std::size_t>(m.bitmap_bytes));
    const int quads = static_cast<int>(_mm_popcnt_u64(left));
    __m512i sum = _mm512_setzero_si512();
    for (int quad = 0; quad < quads; ++quad, left = _blsr_u64(left), weights += kQuadBytes) {
      *columns++ = static_cast<std::int32_t>(g * m.form.group) +
                   4 * static_cast<std::int32_t>(_tzcnt_u64(left));
      const __m512i code =
          _mm512_sub_epi8(load_quad<BITS>(codes, quad, quads), offset_of_codes<BITS>());
      _mm512_storeu_si512(weights, code);
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(static_cast<char>(128)), code);
    }
    codes += quads * kQuadBytes * BITS / 8;
    panel.quads_in_group[g] = quads;
    _mm512_storeu_si512(panel.offsets + g * kPanelRows,
                        _mm512_sub_epi32(_mm512_setzero_si512(), sum));
    const std::int64_t scale = (number * m.scale_groups + g / m.form.groups_per_scale) * kPanelRows;
    _mm512_storeu_ps(panel.scales + g * kPanelRows, load_scales(m.scales, half, scale, kPanelRows));
  }
}

template <int T>
void multiply_tokens(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t token,
                     const QuadPanel& panel, float* y, __mmask16 rows) {
  __m512 totals[T];
  for (int t = 0; t < T; ++t) totals[t] = _mm512_setzero_ps();
  const std::uint8_t* const inputs = in.biased + token * in.stride;
  const std::int32_t* column = panel.columns;
  const std::int8_t* weights = panel.weights;
  for (std::int64_t g = 0; g < m.groups; ++g) {
    __m512i sums[T];
    for (int t = 0; t < T; ++t) sums[t] = _mm512_loadu_si512(panel.offsets + g * kPanelRows);
    const std::int32_t* const end = column + panel.quads_in_group[g];
    for (; column < end; ++column, weights += kQuadBytes) {
      const __m512i w = _mm512_loadu_si512(weights);
      for (int t = 0; t < T; ++t) {
        const auto x = load_any<std::int32_t>(inputs + t * in.stride + *column);
        sums[t] = _mm512_dpbusd_epi32(sums[t], _mm512_set1_epi32(x), w);
      }
    }
    const __m512 scales = _mm512_loadu_ps(panel.scales + g * kPanelRows);
    for (int t = 0; t < T; ++t) {
      const __m512 factor =
          _mm512_mul_ps(scales, _mm512_set1_ps(in.scales[(token + t) * m.groups + g]));
      totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t]), factor, totals[t]);
    }
  }
  for (int t = 0; t < T; ++t) _mm512_mask_storeu_ps(y + t * m.rows, rows, totals[t]);
}

}  // namespace

void multiply_quads(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t first_panel,
                    std::int64_t last_panel, float* y, std::uint8_t* scratch) {
  const QuadPanel panel = place(m, scratch);
  for (std::int64_t number = first_panel; number < last_panel; ++number) {
    if (m.form.bits == 8) {
      unpack<8>(m, number, panel);
    } else {
      unpack<4>(m, number, panel);
    }
    const std::int64_t first_row = number * kPanelRows;
    const std::int64_t left = m.rows - first_row;
    const auto rows = static_cast<__mmask16>((1U << (left < kPanelRows ? left : kPanelRows)) - 1);
    std::int64_t token = 0;
    const auto out = [&] { return y + token * m.rows + first_row; };
    for (; token + kTokens <= in.tokens; token += kTokens) {
      multiply_tokens<kTokens>(m, in, token, panel, out(), rows);
    }
    for (; token + 4 <= in.tokens; token += 4) {
      multiply_tokens<4>(m, in, token, panel, out(), rows);
    }
    for (; token < in.tokens; ++token) multiply_tokens<1>(m, in, token, panel, out(), rows);
  }
}

}  // namespace edgecompress::avx512

#endif
