#pragma once

#include <string>

#include "base/progress.h"
#include "pipeline/run_options.h"
#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// Does all steps of a recipe on a model folder, in one walk over its decoder blocks, and publishes
/// the output: a model folder, or an ONNX folder when the recipe exports. report.json lies in it.
///
/// Gates are judged at the end and stand in the report. One that fails keeps the output from being
/// published only with GateFailure::Discard.
///
/// command: what the report calls it ("run", "prune", "quantize").
/// Refuses before any weight is read: everything plan_walk refuses, an output that cannot be made,
/// too little text.
Report run_recipe(const Recipe& recipe, const std::string& command, const RunOptions& options,
                  const Progress& progress);

}  // namespace edgecompress
