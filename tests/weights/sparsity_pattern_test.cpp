#include "weights/sparsity_pattern.h"

#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("patterns describe themselves and the share they drop", "[weights]") {
  CHECK(describe(Unstructured{0.5}) == "unstructured 50%");
  CHECK(describe(PerRow{0.625}) == "per-row 62.5%");
  CHECK(describe(NofM{2, 4}) == "2:4");
  CHECK(describe(Blocks{16, 1, 0.4}) == "16x1 40%");
  CHECK(target_sparsity(Unstructured{0.3}) == 0.3);
  CHECK(target_sparsity(PerRow{0.6}) == 0.6);
  CHECK(target_sparsity(NofM{1, 4}) == 0.75);
  CHECK(target_sparsity(Blocks{16, 1, 0.4}) == 0.4);
}

}  // namespace
}  // namespace edgecompress
