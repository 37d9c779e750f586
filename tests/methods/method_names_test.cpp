#include "methods/method_names.h"

#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("every method has the name that recipes use", "[methods]") {
  CHECK(method_name(QuantizeMethod{RtnOptions{}}) == "rtn");
  CHECK(method_name(QuantizeMethod{HqqOptions{}}) == "hqq");
  CHECK(method_name(MaskMethod{MagnitudeMask{}}) == "magnitude");
  CHECK(method_name(MaskMethod{WandaMask{}}) == "wanda");
  CHECK(method_name(StructuredScore{MagnitudeScore{}}) == "magnitude");
  CHECK(method_name(StructuredScore{ActivationScore{}}) == "activation");
}

TEST_CASE("only methods that look at activations need calibration", "[methods]") {
  CHECK((calibration_need(RtnOptions{}) == CalibrationNeed::None));
  CHECK((calibration_need(HqqOptions{}) == CalibrationNeed::None));
  CHECK((calibration_need(GptqOptions{}) == CalibrationNeed::Hessian));
  CHECK((calibration_need(MagnitudeMask{}, MaskRepair::None) == CalibrationNeed::None));
  CHECK((calibration_need(MagnitudeMask{}, MaskRepair::LeastSquares) == CalibrationNeed::Hessian));
  CHECK((calibration_need(WandaMask{}, MaskRepair::None) == CalibrationNeed::Norms));
  CHECK((calibration_need(SparseGptMask{}, MaskRepair::None) == CalibrationNeed::Hessian));
  CHECK((calibration_need({.score = MagnitudeScore{}}) == CalibrationNeed::None));
  CHECK((default_repair(MagnitudeScore{}) == CutRepair::None));
  CHECK((calibration_need({.score = ActivationScore{}}) == CalibrationNeed::Norms));
  CHECK((default_repair(ActivationScore{}) == CutRepair::LeastSquares));
}

}  // namespace
}  // namespace edgecompress
