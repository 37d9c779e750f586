#include "weights/float_rows.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "support/catch.h"

namespace edgecompress {
namespace {

std::vector<float> random_floats(std::size_t count) {
  std::mt19937 generator(5);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(generator()) * 0x1p-31F - 1.0F;
  return values;
}

TEST_CASE("what a type can hold survives both ways, at any address", "[weights]") {
  const DType dtype = GENERATE(DType::F32, DType::F16, DType::BF16);
  const std::size_t offset = GENERATE(0U, 1U, 3U);
  std::vector<float> values{0.0F, -0.0F, 1.0F, -2.5F, 0.15625F, 1024.0F, -0.0078125F};
  std::vector<std::byte> bytes(values.size() * dtype_bytes(dtype) + offset);
  const auto part = std::span(bytes).subspan(offset);
  bytes_from_floats(values, dtype, part);
  std::vector<float> back(values.size(), 9.0F);
  floats_from_bytes(part, dtype, back);
  CHECK(std::memcmp(back.data(), values.data(), values.size() * sizeof(float)) == 0);
}

TEST_CASE("16-bit bytes are those of the standard", "[weights][golden]") {
  const std::vector<float> values{1.0F, -2.0F, 65504.0F, 0.333251953125F};
  std::vector<std::byte> bytes(8);
  const auto word = [&](std::size_t i) {
    return static_cast<int>(bytes[2 * i]) | static_cast<int>(bytes[2 * i + 1]) << 8;
  };
  bytes_from_floats(values, DType::F16, bytes);
  CHECK(word(0) == 0x3C00);
  CHECK(word(1) == 0xC000);
  CHECK(word(2) == 0x7BFF);
  CHECK(word(3) == 0x3555);
  bytes_from_floats(values, DType::BF16, bytes);
  CHECK(word(0) == 0x3F80);
  CHECK(word(1) == 0xC000);
}

TEST_CASE("every binary16 value is read exactly, many or few at once", "[weights]") {
  std::vector<std::byte> bytes(2 * 65536);
  for (std::size_t i = 0; i < 65536; ++i) {
    bytes[2 * i] = static_cast<std::byte>(i & 0xFF);
    bytes[2 * i + 1] = static_cast<std::byte>(i >> 8);
  }
  std::vector<float> together(65536);
  floats_from_bytes(bytes, DType::F16, together);
  std::int64_t different = 0;
  for (std::size_t i = 0; i < 65536; ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31);
    const auto fraction = static_cast<float>(i & 1023);
    const float magnitude =
        exponent == 0 ? fraction * 0x1p-24F : std::ldexp(1024 + fraction, exponent - 25);
    const float value = i < 32768 ? magnitude : -magnitude;
    float alone = 0;
    floats_from_bytes(std::span(bytes).subspan(2 * i, 2), DType::F16, std::span(&alone, 1));
    const bool finite = exponent < 31;
    const bool good = finite ? alone == value && together[i] == value
                             : std::isnan(alone) == (fraction > 0) && !std::isfinite(together[i]);
    different += good && std::signbit(alone) == std::signbit(together[i]) ? 0 : 1;
  }
  CHECK(different == 0);
}

TEST_CASE("rounding moves a value by at most half a step of its type", "[weights][property]") {
  const auto [dtype, half_step] = GENERATE(table<DType, float>(
      {{DType::F16, 0x1p-11F}, {DType::BF16, 0x1p-8F}}));  // relative: 10 and 7 bits of fraction
  const std::vector<float> values = random_floats(4000);
  std::vector<std::byte> bytes(values.size() * 2);
  bytes_from_floats(values, dtype, bytes);
  std::vector<float> back(values.size());
  floats_from_bytes(bytes, dtype, back);
  float largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::abs(values[i]) < 0x1p-14F) continue;  // binary16 is no longer relative there
    largest = std::max(largest, std::abs(back[i] - values[i]) / std::abs(values[i]));
  }
  CHECK(largest <= half_step);
  CHECK(largest > 0.9F * half_step);
}

TEST_CASE("sizes that do not fit are bugs of the caller", "[weights]") {
  std::vector<float> values(3);
  std::vector<std::byte> bytes(5);
  CHECK_THROWS_AS(floats_from_bytes(bytes, DType::F16, values), std::logic_error);
  CHECK_THROWS_AS(bytes_from_floats(values, DType::I8, std::span(bytes).first(3)),
                  std::logic_error);
}

}  // namespace
}  // namespace edgecompress
