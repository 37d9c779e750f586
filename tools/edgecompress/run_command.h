#pragma once

#include <string>
#include <vector>

#include "edgecompress/gate_flags.h"
#include "edgecompress/shared_options.h"
#include "recipe/recipe.h"

namespace edgecompress::cli {

struct RunCommandOptions {
  OutputFlags output;
  ComputeFlags compute;
  GateFlags gates;
  std::filesystem::path recipe;
  std::vector<std::string> overrides;  ///< of the recipe, "path=value"
  bool keep_checkpoint = false;
  bool skip_check = false;
  bool skip_speed_test = false;
  std::filesystem::path onnxruntime;
};

CLI::App* add_run(CLI::App& app, RunCommandOptions& options);

/// The recipe with what the flags change. Throws as read_recipe(), and Error{Usage} R20 for a gate
/// that nothing measures.
Recipe recipe_of(const RunCommandOptions& options);

}  // namespace edgecompress::cli
