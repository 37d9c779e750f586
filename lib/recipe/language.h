#pragma once

#include "methods/mask_method.h"
#include "methods/quantize_method.h"
#include "methods/structured_method.h"
#include "recipe/fields.h"
#include "report/gate.h"

namespace edgecompress {

/// The whole recipe language.
extern const Shape kRecipeShape;

/// An entry of `gates`; nothing when it is wrong, which check_shape() has reported.
std::optional<Gate> read_gate(const ObjectReader& body);

/// The method a step names, with its options. step: a step's body that check_shape() has seen.
StructuredScore read_structured_score(const ObjectReader& step);
MaskMethod read_mask_method(const ObjectReader& step);
QuantizeMethod read_quantize_method(const ObjectReader& step);

}  // namespace edgecompress
