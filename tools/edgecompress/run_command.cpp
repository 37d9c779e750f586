#include "edgecompress/run_command.h"

#include <algorithm>

#include "base/error.h"

namespace edgecompress::cli {

CLI::App* add_run(CLI::App& app, RunCommandOptions& options) {
  CLI::App* const command = app.add_subcommand("run", "do all steps of a recipe in one pass");
  command->add_option("recipe", options.recipe, "recipe file, *.ec.yaml")->required();
  add_output_flags(*command, options.output);
  add_dry_run_flag(*command, options.output);
  add_override_flags(*command, options.overrides);
  command->add_flag("--keep-checkpoint", options.keep_checkpoint,
                    "keep the compressed checkpoint in OUTPUT/checkpoint beside the artifact");
  command->add_flag("--skip-check", options.skip_check,
                    "do not run the artifact before it is published");
  command->add_flag("--skip-speed-test", options.skip_speed_test,
                    "do not time the artifact against the dense one");
  command->add_option("--onnxruntime", options.onnxruntime, "ONNX Runtime library to run it with");
  add_gate_flags(*command, options.gates, GateScope::Run);
  add_compute_flags(*command, options.compute);
  add_memory_flag(*command, options.compute);
  command->footer(
      "Examples:\n"
      "  edgecompress run recipes/quickstart.ec.yaml --model tests/models/mini-llama -o out\n"
      "  edgecompress run release.ec.yaml --model llama -o out --max-ppl-increase 1% --max-size "
      "4GiB "
      "--json > report.json");
  return command;
}

Recipe recipe_of(const RunCommandOptions& options) {
  Recipe recipe = read_recipe(options.recipe, options.overrides);
  add_gates(options.gates, recipe);
  const bool times = std::any_of(recipe.gates.begin(), recipe.gates.end(), [](const Gate& gate) {
    return gate.metric == GateMetric::Speedup;
  });
  if (times && options.skip_speed_test) {
    throw Error(ErrorKind::Usage, "R20",
                "a gate on decode_speedup cannot be judged with --skip-speed-test");
  }
  return recipe;
}

}  // namespace edgecompress::cli
