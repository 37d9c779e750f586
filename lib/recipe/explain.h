#pragma once

#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace edgecompress {

/// What a recipe's steps do to one matrix.
struct ModuleExplanation {
  std::string module;
  std::vector<std::string> actions;  ///< per step that touches it, "quant: int4 g64 (rule 2)"
};

/// One entry per matrix of `modules`, in their order. No weight is read; widths after a cut are not
/// known here.
std::vector<ModuleExplanation> explain_recipe(const Recipe& recipe,
                                              const std::vector<NamedMatrix>& modules);

/// "int4 g64 asymmetric", "int8 per channel"
std::string describe(const QuantScheme& scheme);

}  // namespace edgecompress
