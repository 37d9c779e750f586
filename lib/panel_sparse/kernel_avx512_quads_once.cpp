// Products of 16x4 panels with one token. Compiled with AVX-512 as kernel_avx512.cpp.
#include "panel_sparse/kernels.h"

#if defined(__x86_64__)
#include "panel_sparse/avx512_common.h"

namespace edgecompress::avx512 {
namespace {

constexpr int kPanelRows = 16;
/// Quads that a group is taken to store at most without asking.
constexpr int kMostUsual = 32;

/// Lanes that add up to the offset of the codes * the sum of the stored inputs.
template <int BITS>
inline __m512i offset_lanes(const std::uint8_t* inputs, std::uint64_t stored, int group) {
  __m512i sums = _mm512_setzero_si512();
  for (int first = 0; first < group; first += 64, stored = stored >> 16) {
    sums = _mm512_mask_dpbusd_epi32(sums, static_cast<__mmask16>(stored), offset_of_codes<BITS>(),
                                    _mm512_loadu_si512(inputs + first));
  }
  return sums;
}

/// Multiplies the stored quads of one group one after the other.
template <int BITS>
class QuadSum {
 public:
  QuadSum(const std::uint8_t* codes, const std::uint8_t* inputs, std::uint64_t stored)
      : codes_(codes), inputs_(inputs), left_(stored) {
    even_ = odd_ = _mm512_setzero_si512();
    if constexpr (BITS == 4) {
      // An odd quad at the end lies in bytes of its own.
      const auto quads = static_cast<std::int64_t>(_mm_popcnt_u64(stored));
      const std::uint64_t last = static_cast<std::uint64_t>(quads & 1)
                                 << (63 - _lzcnt_u64(stored | 1));
      left_ = stored ^ last;
      even_ = _mm512_dpbusd_epi32(even_, widen_pairs(codes + 32 * (quads & ~std::int64_t{1})),
                                  quad_at(last));
    }
  }

  bool done() const { return left_ == 0; }

  /// The next two quads; what is not there counts as 0.
  void add_two() {
    if constexpr (BITS == 4) {
      const __m512i low = _mm512_set1_epi8(15);
      const __m512i both = load_codes<BITS>(codes_);
      even_ = _mm512_dpbusd_epi32(even_, _mm512_and_si512(both, low), next());
      odd_ = _mm512_dpbusd_epi32(odd_, _mm512_and_si512(_mm512_srli_epi16(both, 4), low), next());
    } else {
      even_ = _mm512_dpbusd_epi32(even_, load_codes<BITS>(codes_), next());
      odd_ = _mm512_dpbusd_epi32(odd_, load_codes<BITS>(codes_ + 64), next());
    }
    codes_ += 16 * BITS;
  }

  __m512i sum() const { return _mm512_add_epi32(even_, odd_); }

 private:
  /// The inputs of the lowest quad of `quads`, in every lane; number 64, a zero, when there is
  /// none.
  __m512i quad_at(std::uint64_t quads) const {
    return _mm512_set1_epi32(load_any<std::int32_t>(inputs_ + 4 * _tzcnt_u64(quads)));
  }
  __m512i next() {
    const __m512i quad = quad_at(left_);
    left_ = _blsr_u64(left_);
    return quad;
  }

  const std::uint8_t* codes_;
  const std::uint8_t* inputs_;
  std::uint64_t left_;
  __m512i even_, odd_;
};

/// How many quads a group of the panel usually stores, a multiple of four; 0 where reading so many
/// may leave the matrix. How many it is differs from group to group, and a loop that stopped there
/// would be mispredicted nearly every time.
inline int usual_quads(const PanelSparseView& m, std::int64_t panel, std::uint64_t quad_bytes) {
  const auto begin = load_any<std::uint64_t>(m.starts + 8 * panel);
  const auto end = load_any<std::uint64_t>(m.starts + 8 * (panel + 1));
  const auto all = load_any<std::uint64_t>(m.starts + 8 * m.panels);
  if (end + quad_bytes * kMostUsual > all) return 0;
  const auto mean =
      static_cast<int>((end - begin) / quad_bytes / static_cast<std::uint64_t>(m.groups));
  const int usual = (mean + 3) / 4 * 4 + 4;
  return usual < kMostUsual ? usual : kMostUsual;
}

template <int BITS>
void multiply_panel(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t panel,
                    float* y) {
  const bool half = m.form.scale_type == ScaleType::Float16;
  const int usual = usual_quads(m, panel, 8 * BITS);
  const std::uint8_t* codes = m.codes + load_any<std::uint64_t>(m.starts + 8 * panel);
  const std::uint8_t* bitmap = m.bitmaps + panel * m.groups * m.bitmap_bytes;
  const std::uint64_t all_blocks = ~std::uint64_t{0} >> (64 - 8 * m.bitmap_bytes);
  ScaleIndex scale(m, panel, kPanelRows);
  __m512 totals = _mm512_setzero_ps();
  for (std::int64_t four = 0; four < m.groups; four += 4) {
    std::uint64_t stored[4];
    __m512i lanes[4];
    for (int i = 0; i < 4; ++i) {
      const std::int64_t g = four + i < m.groups ? four + i : m.groups - 1;
      // What is read behind a short bitmap lies in the blob too.
      stored[i] = load_any<std::uint64_t>(bitmap + g * m.bitmap_bytes) & all_blocks;
      lanes[i] = offset_lanes<BITS>(in.slots + g * kSlotBytes, stored[i], m.form.group);
    }
    alignas(16) std::int32_t offsets[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(offsets),
                    sum_lanes(lanes[0], lanes[1], lanes[2], lanes[3]));
    for (std::int64_t g = four; g < four + 4 && g < m.groups; ++g) {
      QuadSum<BITS> quads(codes, in.slots + g * kSlotBytes, stored[g - four]);
      for (int quad = 0; quad < usual; quad += 4) {
        quads.add_two();
        quads.add_two();
      }
      while (!quads.done()) quads.add_two();
      codes += static_cast<std::int64_t>(_mm_popcnt_u64(stored[g - four])) * 8 * BITS;
      const __m512 factor = _mm512_mul_ps(load_scales(m.scales, half, scale.next(), kPanelRows),
                                          _mm512_set1_ps(in.scales[g]));
      const __m512i sum = _mm512_sub_epi32(quads.sum(), _mm512_set1_epi32(offsets[g - four]));
      totals = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, totals);
    }
  }
  const std::int64_t left = m.rows - panel * kPanelRows;
  const auto rows = static_cast<__mmask16>((1U << (left < kPanelRows ? left : kPanelRows)) - 1);
  _mm512_mask_storeu_ps(y + panel * kPanelRows, rows, totals);
}

}  // namespace

void multiply_quads_once(const PanelSparseView& m, const QuantizedInputs& in,
                         std::int64_t first_panel, std::int64_t last_panel, float* y) {
  const auto multiply = m.form.bits == 8 ? multiply_panel<8> : multiply_panel<4>;
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) multiply(m, in, panel, y);
}

}  // namespace edgecompress::avx512

#endif
