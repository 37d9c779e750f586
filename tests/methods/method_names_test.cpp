#include "methods/method_names.h"

#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("every method has the name that recipes use", "[methods]") {
  CHECK(method_name(QuantizeMethod{RtnOptions{}}) == "rtn");
  CHECK(method_name(MaskMethod{MagnitudeMask{}}) == "magnitude");
  CHECK(method_name(MaskMethod{WandaMask{}}) == "wanda");
  CHECK(method_name(StructuredScore{MagnitudeScore{}}) == "magnitude");
  CHECK(method_name(StructuredScore{ActivationScore{}}) == "activation");
}

TEST_CASE("only methods that look at activations need calibration", "[methods]") {
  CHECK_FALSE(needs_calibration(QuantizeMethod{RtnOptions{}}));
  CHECK_FALSE(needs_calibration(MaskMethod{MagnitudeMask{}}));
  CHECK(needs_calibration(MaskMethod{WandaMask{}}));
  CHECK_FALSE(needs_calibration(StructuredScore{MagnitudeScore{}}));
  CHECK(needs_calibration(StructuredScore{ActivationScore{}}));
}

}  // namespace
}  // namespace edgecompress
