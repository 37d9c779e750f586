#include "base/error.h"

#include <ios>
#include <ostream>

#include "support/catch.h"

namespace edgecompress {
namespace {

/// Fails as a stream does that cannot grow its text.
struct Unprintable {};
std::ostream& operator<<(std::ostream& out, Unprintable /*unused*/) {
  out.setstate(std::ios::badbit);
  return out;
}

TEST_CASE("a text that cannot be put together whole is not given", "[base]") {
  CHECK(concat("a", 1, "b") == "a1b");
  CHECK_THROWS_AS(concat("a", Unprintable{}, "b"), std::ios_base::failure);
}

}  // namespace
}  // namespace edgecompress
