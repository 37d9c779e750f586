// Products with many tokens. Compiled with AVX-512 as kernel_avx512.cpp.
#include "panel_sparse/kernels.h"

#if defined(__x86_64__)
#include "panel_sparse/avx512_common.h"

namespace edgecompress::avx512 {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileTokens = 12;  // with as many running totals, what the 32 registers hold
constexpr int kStagingStride = 256 + 64;

/// Writes 64 columns of four rows, one vector each, to the tile at quad 0 of `out`.
inline void store_four_rows(__m512i a, __m512i b, __m512i c, __m512i d, int quads,
                            std::uint8_t* out) {
  const __m512i ab_low = _mm512_unpacklo_epi32(a, b);
  const __m512i ab_high = _mm512_unpackhi_epi32(a, b);
  const __m512i cd_low = _mm512_unpacklo_epi32(c, d);
  const __m512i cd_high = _mm512_unpackhi_epi32(c, d);
  const __m512i mixed[4] = {
      _mm512_unpacklo_epi64(ab_low, cd_low), _mm512_unpackhi_epi64(ab_low, cd_low),
      _mm512_unpacklo_epi64(ab_high, cd_high), _mm512_unpackhi_epi64(ab_high, cd_high)};
  for (int i = 0; i < 4; ++i) {
    const auto store = [&](int quad, __m128i four) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 64 * quad), four);
    };
    store(i, _mm512_castsi512_si128(mixed[i]));
    store(4 + i, _mm512_extracti32x4_epi32(mixed[i], 1));
    if (quads <= 8) continue;
    store(8 + i, _mm512_extracti32x4_epi32(mixed[i], 2));
    store(12 + i, _mm512_extracti32x4_epi32(mixed[i], 3));
  }
}

/// Takes the codes of one group of shared columns apart into rows: staging[row] holds them in the
/// order of columns.
template <int BITS, int R>
inline void stage_rows(const std::uint8_t* codes, int stored, std::uint8_t* staging) {
  const int steps = (stored + 64 / R - 1) / (64 / R);
  const int whole = BITS == 8 ? 0 : (stored + 3) / 4 * R * 4 / 128 * 2;
  const __m512i low = _mm512_set1_epi8(15);
  for (int step = 0; step < steps; ++step) {
    __m512i w;
    if constexpr (BITS == 8) {
      w = _mm512_loadu_si512(codes + 64 * step);
    } else if (step < whole) {
      const __m512i both = _mm512_loadu_si512(codes + step / 2 * 64);
      w = _mm512_and_si512(step % 2 == 0 ? both : _mm512_srli_epi16(both, 4), low);
    } else {
      w = widen_pairs(codes + step * 32);
    }
    alignas(64) std::uint8_t lanes[64];
    if constexpr (R == 4) {
      w = _mm512_permutexvar_epi32(
          _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), w);
    } else if constexpr (R == 8) {
      w = _mm512_permutexvar_epi32(
          _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15), w);
    }
    _mm512_store_si512(lanes, w);
    constexpr int kRowBytes = 64 / R;
    for (int r = 0; r < R; ++r) {
      __builtin_memcpy(staging + r * kStagingStride + step * kRowBytes, lanes + r * kRowBytes,
                       kRowBytes);
    }
  }
}

/// Bit masks of columns [first, first + 64) of a group.
inline std::uint64_t column_mask(const std::uint8_t* bitmap, int group, int column_block,
                                 int first) {
  if (column_block == 1) {
    return group == 32 ? load_any<std::uint32_t>(bitmap)
                       : load_any<std::uint64_t>(bitmap + first / 8);
  }
  const std::uint64_t blocks =
      group == 32 ? bitmap[0] : load_any<std::uint16_t>(bitmap + first / 32);
  return _pdep_u64(blocks, 0x1111111111111111U) * 15;
}

template <int BITS, int R>
void expand_shared(const PanelSparseView& m, std::int64_t panel, std::uint8_t* tile,
                   std::uint8_t* staging) {
  const __m512i offset = offset_of_codes<BITS>();
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  for (std::int64_t g = 0; g < m.groups; ++g) {
    const std::uint8_t* const bitmap = m.bitmaps + (panel * m.groups + g) * m.bitmap_bytes;
    int stored = 0;
    for (std::int64_t i = 0; i < m.bitmap_bytes; ++i) stored += _mm_popcnt_u32(bitmap[i]);
    stored *= m.form.column_block;
    stage_rows<BITS, R>(codes, stored, staging);
    codes += (stored + 3) / 4 * 4 * R * BITS / 8;
    std::int64_t taken = 0;
    for (int first = 0; first < m.form.group; first += 64) {
      const std::uint64_t mask = column_mask(bitmap, m.form.group, m.form.column_block, first);
      std::uint8_t* const out = tile + (g * m.form.group + first) * kTileRows;
      for (int r = 0; r < R; r += 4) {
        const auto row = [&](int which) {
          return _mm512_mask_expand_epi8(
              offset, mask, _mm512_loadu_si512(staging + (r + which) * kStagingStride + taken));
        };
        store_four_rows(row(0), row(1), row(2), row(3), m.form.group / 4, out + 4 * r);
      }
      taken += _mm_popcnt_u64(mask);
    }
  }
}

template <int BITS>
void expand_unstructured(const PanelSparseView& m, std::int64_t panel, std::uint8_t* tile) {
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * kRows * m.bitmap_bytes;
  for (std::int64_t g = 0; g < m.groups; ++g, bitmap += kRows * m.bitmap_bytes) {
    for (int first = 0; first < m.form.group; first += 64) {
      __m512i rows[kRows];
      for (int r = 0; r < kRows; ++r) {
        rows[r] = expand_run<BITS>(
            codes, column_mask(bitmap + r * m.bitmap_bytes, m.form.group, 1, first));
      }
      store_four_rows(rows[0], rows[1], rows[2], rows[3], m.form.group / 4,
                      tile + (g * m.form.group + first) * kTileRows);
    }
  }
}

/// Writes the scales of the 16 rows of a tile to `out`, [groups, 16]; panels beyond the last one
/// get zeros.
void expand_scales(const PanelSparseView& m, std::int64_t panel, int height, float* out) {
  const bool half = m.form.scale_type == ScaleType::Float16;
  const __mmask16 rows = static_cast<__mmask16>((1U << height) - 1);
  for (std::int64_t g = 0; g < m.groups; ++g, out += kTileRows) {
    _mm512_storeu_ps(out, _mm512_setzero_ps());
    for (int p = 0; p < kTileRows / height && panel + p < m.panels; ++p) {
      const std::int64_t at = ((panel + p) * m.scale_groups + g / m.form.groups_per_scale) * height;
      _mm512_mask_storeu_ps(out + height * p, rows, load_scales(m.scales, half, at, height));
    }
  }
}

/// 16 rows written out densely, as code + offset.
struct Tile {
  const std::uint8_t* weights;  // [columns / 4, 16, 4]
  const float* scales;          // [groups, 16]
  std::int64_t first_row, rows;
};

template <int T>
void multiply_tile(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t token,
                   const Tile& tile, float* y) {
  __m512 totals[T];
  for (int t = 0; t < T; ++t) totals[t] = _mm512_setzero_ps();
  for (std::int64_t g = 0; g < m.groups; ++g) {
    __m512i sums[T];
    for (int t = 0; t < T; ++t) {
      sums[t] = _mm512_set1_epi32(in.offsets[(token + t) * m.groups + g]);
    }
    for (std::int64_t c = g * m.form.group; c < (g + 1) * m.form.group; c += 4) {
      const __m512i w = _mm512_loadu_si512(tile.weights + c * kTileRows);
      for (int t = 0; t < T; ++t) {
        const auto* const x =
            reinterpret_cast<const std::uint8_t*>(in.codes) + (token + t) * in.stride + c;
        sums[t] = _mm512_dpbusd_epi32(sums[t], w, _mm512_set1_epi32(load_any<std::int32_t>(x)));
      }
    }
    const __m512 scales = _mm512_loadu_ps(tile.scales + g * kTileRows);
    for (int t = 0; t < T; ++t) {
      const __m512 factor =
          _mm512_mul_ps(scales, _mm512_set1_ps(in.scales[(token + t) * m.groups + g]));
      totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t]), factor, totals[t]);
    }
  }
  const __mmask16 rows = static_cast<__mmask16>((1U << tile.rows) - 1);
  for (int t = 0; t < T; ++t) {
    _mm512_mask_storeu_ps(y + (token + t) * m.rows + tile.first_row, rows, totals[t]);
  }
}

template <int BITS>
void expand_panel(const PanelSparseView& m, std::int64_t panel, std::uint8_t* tile,
                  std::uint8_t* staging) {
  switch (m.form.shared_rows) {
    case 16:
      return expand_shared<BITS, 16>(m, panel, tile, staging);
    case 8:
      return expand_shared<BITS, 8>(m, panel, tile, staging);
    case 4:
      return expand_shared<BITS, 4>(m, panel, tile, staging);
    default:
      return expand_unstructured<BITS>(m, panel, tile);
  }
}

template <int BITS>
void multiply_tiles_of(const PanelSparseView& m, const QuantizedInputs& in,
                       std::int64_t first_panel, std::int64_t last_panel, float* y,
                       std::uint8_t* scratch) {
  const int height = m.form.shared_rows == 1 ? kRows : m.form.shared_rows;
  const std::int64_t last_row = last_panel * height < m.rows ? last_panel * height : m.rows;
  auto* const scales = reinterpret_cast<float*>(scratch);
  std::uint8_t* const weights = scratch + m.groups * kTileRows * sizeof(float);
  std::uint8_t* const staging = weights + kTileRows * m.groups * m.form.group;
  for (std::int64_t panel = first_panel; panel < last_panel; panel += kTileRows / height) {
    for (int p = 0; p < kTileRows / height && panel + p < last_panel; ++p) {
      expand_panel<BITS>(m, panel + p, weights + 4 * height * p, staging);
    }
    expand_scales(m, panel, height, scales);
    const std::int64_t left = last_row - panel * height;
    const Tile tile{weights, scales, panel * height, left < kTileRows ? left : kTileRows};
    std::int64_t token = 0;
    for (; token + kTileTokens <= in.tokens; token += kTileTokens) {
      multiply_tile<kTileTokens>(m, in, token, tile, y);
    }
    for (; token + 4 <= in.tokens; token += 4) multiply_tile<4>(m, in, token, tile, y);
    for (; token < in.tokens; ++token) multiply_tile<1>(m, in, token, tile, y);
  }
}

}  // namespace

void multiply_tiles(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t first_panel,
                    std::int64_t last_panel, float* y, std::uint8_t* scratch) {
  const auto tiles = m.form.bits == 8 ? multiply_tiles_of<8> : multiply_tiles_of<4>;
  tiles(m, in, first_panel, last_panel, y, scratch);
}

}  // namespace edgecompress::avx512

#endif
