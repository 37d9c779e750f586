#include "calibrate/token_windows.h"

#include <numeric>

#include "base/error.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

std::vector<std::int32_t> counting(std::int32_t count) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

std::vector<std::int32_t> first_ids(const TokenWindows& windows) {
  std::vector<std::int32_t> first;
  for (std::int64_t i = 0; i < windows.count; ++i) first.push_back(windows.window(i)[0]);
  return first;
}

TEST_CASE("windows do not overlap and the tail is dropped", "[calibrate]") {
  const TokenWindows windows = cut_windows(counting(23), {.length = 5, .max_count = {}}, "t");
  CHECK(windows.count == 4);
  CHECK(windows.text_tokens == 23);
  CHECK(first_ids(windows) == std::vector<std::int32_t>{0, 5, 10, 15});
  CHECK(windows.window(3).back() == 19);
}

TEST_CASE("fewer windows are spread over the text, or are its first", "[calibrate]") {
  // 10 windows, 4 wanted: floor(i * 10 / 4) = 0, 2, 5, 7
  const WindowChoice spread{.length = 3, .max_count = 4};
  CHECK(first_ids(cut_windows(counting(30), spread, "t")) ==
        std::vector<std::int32_t>{0, 6, 15, 21});
  const WindowChoice first{.length = 3, .max_count = 4, .order = WindowOrder::First};
  CHECK(first_ids(cut_windows(counting(30), first, "t")) == std::vector<std::int32_t>{0, 3, 6, 9});
  CHECK(cut_windows(counting(30), {.length = 3, .max_count = 99}, "t").count == 10);
}

TEST_CASE("the hash is of the chosen ids as little-endian int32", "[calibrate]") {
  // sha256 of the bytes 00 00 00 00 01 00 00 00
  const TokenWindows windows = cut_windows(counting(3), {.length = 2, .max_count = {}}, "t");
  CHECK(windows.sha256 == "01acecb507abfe1a354aa8064f4af5d3f1acd019e37db3c11c97523b71c76e9d");
}

TEST_CASE("a text shorter than one window is refused with both numbers", "[calibrate]") {
  try {
    cut_windows(counting(7), {.length = 8, .max_count = {}}, "short.txt");
    FAIL("not refused");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Malformed);
    CHECK(error.code() == "F24");
    const std::string text = error.what();
    CHECK(text.find("short.txt has 7 tokens") != std::string::npos);
    CHECK(text.find("needs 8") != std::string::npos);
  }
}

}  // namespace
}  // namespace edgecompress
