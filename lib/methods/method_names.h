#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "methods/mask_method.h"
#include "methods/quantize_method.h"
#include "methods/structured_method.h"
#include "methods/training_options.h"

namespace edgecompress {

/// The name of a method as recipes, flags and reports spell it, for example "rtn".
std::string_view method_name(const QuantizeMethod& method);
std::string_view method_name(const MaskMethod& method);
std::string_view method_name(const StructuredScore& score);

/// Nothing when no phases have this name.
std::optional<TrainingPhases> training_phases_of_name(std::string_view name);

/// Nothing when no target has this name.
std::optional<StructuredTarget> structured_target_of_name(std::string_view name);

/// Whether a method multiplies columns of weights, and divides what gives their inputs.
bool scales_inputs(const QuantizeMethod& method);

/// What a method must know of the layers' inputs, in rising order.
enum class CalibrationNeed {
  None,     ///< nothing: the method is data-free
  Norms,    ///< the norm of each input
  Hessian,  ///< the second moments of the inputs
  Sample,   ///< some tokens' inputs as they are too, and the largest of each
};

/// The repair a cut gets unless another is asked for: least squares with every score that needs
/// calibration text anyway, none with the data-free ones.
CutRepair default_repair(const StructuredScore& score);

CalibrationNeed calibration_need(const QuantizeMethod& method);
CalibrationNeed calibration_need(const MaskMethod& method, MaskRepair repair);
CalibrationNeed calibration_need(const StructuredCut& cut);

}  // namespace edgecompress
