#include "methods/method_names.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace edgecompress {
namespace {

/// What the rest of the program asks about an alternative.
struct Traits {
  std::string_view name;
  CalibrationNeed need;
};

// In the order of the variants' alternatives.
constexpr std::array kQuantizeMethods{
    Traits{"rtn", CalibrationNeed::None}, Traits{"gptq", CalibrationNeed::Hessian},
    Traits{"hqq", CalibrationNeed::None}, Traits{"awq", CalibrationNeed::Hessian},
    Traits{"smoothquant", CalibrationNeed::Sample}};
constexpr std::array kMaskMethods{Traits{"magnitude", CalibrationNeed::None},
                                  Traits{"wanda", CalibrationNeed::Norms},
                                  Traits{"sparsegpt", CalibrationNeed::Hessian}};
constexpr std::array kStructuredScores{
    Traits{"magnitude", CalibrationNeed::None},       Traits{"activation", CalibrationNeed::Norms},
    Traits{"output-error", CalibrationNeed::Hessian}, Traits{"fluctuation", CalibrationNeed::Norms},
    Traits{"random", CalibrationNeed::None},          Traits{"taylor", CalibrationNeed::Norms}};

static_assert(kQuantizeMethods.size() == std::variant_size_v<QuantizeMethod>);
static_assert(kMaskMethods.size() == std::variant_size_v<MaskMethod>);
static_assert(kStructuredScores.size() == std::variant_size_v<StructuredScore>);

/// names: of an enumeration's values, in their order.
template <typename Enum, typename Names>
std::optional<Enum> value_of_name(const Names& names, std::string_view name) {
  const auto* const found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Enum>(found - names.begin());
}

}  // namespace

bool scales_inputs(const QuantizeMethod& method) {
  return std::holds_alternative<AwqOptions>(method) ||
         std::holds_alternative<SmoothQuantOptions>(method);
}

std::string_view method_name(const QuantizeMethod& method) {
  return kQuantizeMethods.at(method.index()).name;
}
std::string_view method_name(const MaskMethod& method) {
  return kMaskMethods.at(method.index()).name;
}
std::string_view method_name(const StructuredScore& score) {
  return kStructuredScores.at(score.index()).name;
}

std::optional<StructuredTarget> structured_target_of_name(std::string_view name) {
  return value_of_name<StructuredTarget>(kStructuredTargetNames, name);
}

std::optional<TrainingPhases> training_phases_of_name(std::string_view name) {
  return value_of_name<TrainingPhases>(kTrainingPhaseNames, name);
}

CutRepair default_repair(const StructuredScore& score) {
  return kStructuredScores.at(score.index()).need == CalibrationNeed::None
             ? CutRepair::None
             : CutRepair::LeastSquares;
}

CalibrationNeed calibration_need(const QuantizeMethod& method) {
  return kQuantizeMethods.at(method.index()).need;
}
CalibrationNeed calibration_need(const MaskMethod& method, MaskRepair repair) {
  return std::max(kMaskMethods.at(method.index()).need,
                  repair == MaskRepair::None ? CalibrationNeed::None : CalibrationNeed::Hessian);
}
CalibrationNeed calibration_need(const StructuredCut& cut) {
  return std::max(kStructuredScores.at(cut.score.index()).need,
                  cut.repair == CutRepair::None ? CalibrationNeed::None : CalibrationNeed::Hessian);
}

}  // namespace edgecompress
