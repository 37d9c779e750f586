#include "pipeline/cut_target.h"

#include <cmath>

#include "base/error.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

/// Of 1000 bytes the blocks have 600; at most 9 tenths of them can go.
std::int64_t bytes_left(const StructuredCut& cut) {
  CHECK(cut.target == StructuredTarget::Parameters);
  if (cut.ratio > 0.9) throw Error(ErrorKind::Unsupported, "U2", "out of reach");
  return 1000 - std::llround(600 * cut.ratio);
}

TEST_CASE("a share of the bytes is a larger one of the blocks' parameters", "[pipeline]") {
  const StructuredCut cut{.target = StructuredTarget::Bytes, .ratio = 0.3};
  CHECK(cut_for_bytes(cut, 1000, bytes_left).ratio == 0.5);
  const StructuredCut odd{.target = StructuredTarget::DecodeTime, .ratio = 0.2501};
  CHECK(cut_for_bytes(odd, 1000, bytes_left).ratio == 0.418);  // 749 bytes are left, 750 too many
}

TEST_CASE("a share of the bytes that no cut takes is refused with the largest one", "[pipeline]") {
  const StructuredCut cut{.target = StructuredTarget::Bytes, .ratio = 0.6};
  CHECK_THROWS_WITH(
      cut_for_bytes(cut, 1000, bytes_left),
      Catch::Matchers::Contains("0.6 of the bytes") && Catch::Matchers::Contains("at most 0.54"));
}

TEST_CASE("a cut that cannot be made at any ratio is refused for its own reason", "[pipeline]") {
  const StructuredCut cut{.target = StructuredTarget::Bytes, .ratio = 0.3};
  CHECK_THROWS_WITH(cut_for_bytes(cut, 1000,
                                  [](const StructuredCut&) -> std::int64_t {
                                    throw Error(ErrorKind::Unsupported, "P-SHAPES",
                                                "widths differ");
                                  }),
                    "widths differ");
}

}  // namespace
}  // namespace edgecompress
