#include "methods/method_names.h"

#include <array>

namespace edgecompress {
namespace {

/// What the rest of the program asks about an alternative.
struct Traits {
  std::string_view name;
  bool needs_calibration;
};

// In the order of the variants' alternatives.
constexpr std::array kQuantizeMethods{Traits{"rtn", false}};
constexpr std::array kMaskMethods{Traits{"magnitude", false}, Traits{"wanda", true}};
constexpr std::array kStructuredScores{Traits{"magnitude", false}, Traits{"activation", true}};

static_assert(kQuantizeMethods.size() == std::variant_size_v<QuantizeMethod>);
static_assert(kMaskMethods.size() == std::variant_size_v<MaskMethod>);
static_assert(kStructuredScores.size() == std::variant_size_v<StructuredScore>);

}  // namespace

std::string_view method_name(const QuantizeMethod& method) {
  return kQuantizeMethods.at(method.index()).name;
}
std::string_view method_name(const MaskMethod& method) {
  return kMaskMethods.at(method.index()).name;
}
std::string_view method_name(const StructuredScore& score) {
  return kStructuredScores.at(score.index()).name;
}

bool needs_calibration(const QuantizeMethod& method) {
  return kQuantizeMethods.at(method.index()).needs_calibration;
}
bool needs_calibration(const MaskMethod& method) {
  return kMaskMethods.at(method.index()).needs_calibration;
}
bool needs_calibration(const StructuredScore& score) {
  return kStructuredScores.at(score.index()).needs_calibration;
}

}  // namespace edgecompress
