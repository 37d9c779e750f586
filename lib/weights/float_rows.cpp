#include "weights/float_rows.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/error.h"
#include "base/float16.h"

namespace edgecompress {
namespace {

void check_size(std::size_t bytes, DType dtype, std::size_t count) {
  ensure(is_weight_float(dtype), "F32, F16 or BF16");
  ensure(bytes == count * dtype_bytes(dtype), "as many bytes as the elements take");
}

// memcpy, because a tensor may start at any address.
template <typename Convert>
void read_halves(std::span<const std::byte> bytes, std::span<float> out, const Convert& convert) {
  const std::byte* const from = bytes.data();
  float* const to = out.data();
  const std::size_t count = out.size();
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, from + 2 * i, sizeof(half));
    to[i] = convert(half);
  }
}

template <typename Convert>
void write_halves(std::span<const float> values, std::span<std::byte> out, const Convert& convert) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t half = convert(values[i]);
    std::memcpy(out.data() + 2 * i, &half, sizeof(half));
  }
}

void read_binary16(std::span<const std::byte> bytes, std::span<float> out) {
  read_halves(bytes, out, [](std::uint16_t half) { return half_to_float(half); });
}

#if defined(__x86_64__)
/// The same values; of a signalling NaN a quiet one.
[[gnu::target("avx,f16c")]] void read_binary16_f16c(std::span<const std::byte> bytes,
                                                    std::span<float> out) {
  constexpr std::size_t kAtOnce = 8;
  const std::size_t whole = out.size() / kAtOnce * kAtOnce;
  for (std::size_t i = 0; i < whole; i += kAtOnce) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes.data() + 2 * i));
    _mm256_storeu_ps(out.data() + i, _mm256_cvtph_ps(halves));
  }
  read_binary16(bytes.subspan(2 * whole), out.subspan(whole));
}
#endif

auto binary16_reader() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c")) return read_binary16_f16c;
#endif
  return read_binary16;
}

}  // namespace

void floats_from_bytes(std::span<const std::byte> bytes, DType dtype, std::span<float> out) {
  check_size(bytes.size(), dtype, out.size());
  if (out.empty()) return;
  switch (dtype) {
    case DType::F16:
      return binary16_reader()(bytes, out);
    case DType::BF16:
      return read_halves(bytes, out, [](std::uint16_t value) { return bfloat16_to_float(value); });
    default:
      std::memcpy(out.data(), bytes.data(), bytes.size());
  }
}

void bytes_from_floats(std::span<const float> values, DType dtype, std::span<std::byte> out) {
  check_size(out.size(), dtype, values.size());
  if (values.empty()) return;
  switch (dtype) {
    case DType::F16:
      return write_halves(values, out, float_to_half);
    case DType::BF16:
      return write_halves(values, out, float_to_bfloat16);
    default:
      std::memcpy(out.data(), values.data(), out.size());
  }
}

}  // namespace edgecompress
