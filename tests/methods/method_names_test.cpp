#include "methods/method_names.h"

#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("every method has the name that recipes use", "[methods]") {
  CHECK(method_name(QuantizeMethod{RtnOptions{}}) == "rtn");
  CHECK(method_name(QuantizeMethod{HqqOptions{}}) == "hqq");
  CHECK(method_name(QuantizeMethod{AwqOptions{}}) == "awq");
  CHECK(method_name(QuantizeMethod{SmoothQuantOptions{}}) == "smoothquant");
  CHECK(method_name(MaskMethod{MagnitudeMask{}}) == "magnitude");
  CHECK(method_name(MaskMethod{WandaMask{}}) == "wanda");
  CHECK(method_name(StructuredScore{MagnitudeScore{}}) == "magnitude");
  CHECK(method_name(StructuredScore{ActivationScore{}}) == "activation");
  CHECK(method_name(StructuredScore{FluctuationScore{}}) == "fluctuation");
  CHECK(method_name(StructuredScore{RandomScore{}}) == "random");
  CHECK(method_name(StructuredScore{TaylorScore{}}) == "taylor");
}

TEST_CASE("only methods that look at activations need calibration", "[methods]") {
  CHECK((calibration_need(RtnOptions{}) == CalibrationNeed::None));
  CHECK((calibration_need(HqqOptions{}) == CalibrationNeed::None));
  CHECK((calibration_need(AwqOptions{}) == CalibrationNeed::Hessian));
  CHECK((calibration_need(GptqOptions{}) == CalibrationNeed::Hessian));
  CHECK((calibration_need(SmoothQuantOptions{}) == CalibrationNeed::Sample));
  CHECK((calibration_need(MagnitudeMask{}, MaskRepair::None) == CalibrationNeed::None));
  CHECK((calibration_need(MagnitudeMask{}, MaskRepair::LeastSquares) == CalibrationNeed::Hessian));
  CHECK((calibration_need(WandaMask{}, MaskRepair::None) == CalibrationNeed::Norms));
  CHECK((calibration_need(SparseGptMask{}, MaskRepair::None) == CalibrationNeed::Hessian));
  CHECK((calibration_need({.score = MagnitudeScore{}}) == CalibrationNeed::None));
  CHECK((default_repair(MagnitudeScore{}) == CutRepair::None));
  CHECK((calibration_need({.score = ActivationScore{}}) == CalibrationNeed::Norms));
  CHECK((default_repair(ActivationScore{}) == CutRepair::LeastSquares));
  CHECK((default_repair(FluctuationScore{}) == CutRepair::LeastSquares));
  CHECK((default_repair(RandomScore{}) == CutRepair::None));
  CHECK((calibration_need({.score = TaylorScore{}}) == CalibrationNeed::Norms));
  CHECK((default_repair(TaylorScore{}) == CutRepair::LeastSquares));
  CHECK((calibration_need({.score = RandomScore{}, .repair = CutRepair::DenseOutputs}) ==
         CalibrationNeed::Hessian));
  CHECK((calibration_need(MagnitudeMask{}, MaskRepair::DenseOutputs) == CalibrationNeed::Hessian));
}

}  // namespace
}  // namespace edgecompress
