#include "edgecompress/plan_command.h"

#include "edgecompress/shared_options.h"
#include "llama/known_shapes.h"

namespace edgecompress::cli {

CLI::App* add_plan(CLI::App& app, PlanCommandOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "plan",
      "say what a recipe will do to a model: exact sizes, memory, disk, time; no weight is read");
  command->add_option("recipe", options.recipe, "recipe file, *.ec.yaml")->required();
  CLI::Option* const model =
      command->add_option("--model", options.model, "Llama folder; only its headers are read");
  command->add_option("--shape", options.shape, "a published model's shape instead of a folder")
      ->check(CLI::IsMember(known_shape_names()))
      ->excludes(model);
  add_override_flags(*command, options.overrides);
  command->add_flag("--tensors", options.tensors, "list what happens to each matrix");
  command->add_flag("--skip-speed-test", options.skip_speed_test,
                    "plan for a run with this flag: no dense artifact on disk");
  command->add_flag("--skip-time", options.skip_time,
                    "do not measure how long the run may take; the rest is the same every time");
  command->add_flag("--json", options.json, "print JSON, matrices included");
  command->footer(
      "Examples:\n"
      "  edgecompress plan recipes/quickstart.ec.yaml --model tests/models/mini-llama\n"
      "  edgecompress plan recipes/quickstart.ec.yaml --shape llama-2-7b --set "
      "steps.cut.prune.ratio=30%");
  return command;
}

}  // namespace edgecompress::cli
