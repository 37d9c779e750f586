#pragma once

#include <string>
#include <string_view>

#include "methods/mask_method.h"
#include "methods/quantize_method.h"
#include "methods/structured_method.h"

namespace edgecompress {

/// The name of a method as recipes, flags and reports spell it, for example "rtn".
std::string_view method_name(const QuantizeMethod& method);
std::string_view method_name(const MaskMethod& method);
std::string_view method_name(const StructuredScore& score);

/// True when the method looks at what flows through the layers, so that calibration text is needed.
bool needs_calibration(const MaskMethod& method);
bool needs_calibration(const StructuredScore& score);
bool needs_calibration(const QuantizeMethod& method);

}  // namespace edgecompress
