#include "base/float16.h"

#include <cmath>
#include <limits>

#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("every binary16 number survives the way through binary32", "[base][property]") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    if (std::isnan(value)) {
      wrong += std::isnan(half_to_float(float_to_half(value))) ? 0 : 1;
    } else {
      wrong += float_to_half(value) == half ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("known binary16 numbers", "[base][golden]") {
  CHECK(half_to_float(0x3C00) == 1.0F);
  CHECK(half_to_float(0xC000) == -2.0F);
  CHECK(half_to_float(0x7BFF) == 65504.0F);
  CHECK(half_to_float(0x0001) == 0x1p-24F);
  CHECK(half_to_float(0x7C00) == std::numeric_limits<float>::infinity());
}

TEST_CASE("binary16 rounds ties to even and overflows to infinity", "[base]") {
  CHECK(float_to_half(1.0F + 0x1p-11F) == 0x3C00);             // half a step above an even fraction
  CHECK(float_to_half(1.0F + 0x1p-10F + 0x1p-11F) == 0x3C02);  // half a step above an odd one
  CHECK(float_to_half(1.0F + 0x1p-11F + 0x1p-20F) == 0x3C01);
  CHECK(float_to_half(65519.0F) == 0x7BFF);
  CHECK(float_to_half(65520.0F) == 0x7C00);
  CHECK(float_to_half(0x1p-25F) == 0x0000);
  CHECK(float_to_half(0x1.8p-24F) == 0x0002);
}

TEST_CASE("bfloat16 rounds ties to even", "[base]") {
  CHECK(float_to_bfloat16(1.0F + 0x1p-8F) == 0x3F80);
  CHECK(float_to_bfloat16(1.0F + 0x1p-7F + 0x1p-8F) == 0x3F82);
  CHECK(bfloat16_to_float(0x3F81) == 1.0F + 0x1p-7F);
  CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(NAN))));
}

}  // namespace
}  // namespace edgecompress
