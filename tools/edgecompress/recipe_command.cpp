#include "edgecompress/recipe_command.h"

#include <algorithm>
#include <ostream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/staged_output.h"
#include "edgecompress/error_report.h"
#include "edgecompress/shared_options.h"
#include "edgecompress/starter_recipe.h"
#include "llama/linear_layers.h"
#include "llama/model_folder.h"
#include "recipe/document.h"
#include "recipe/explain.h"
#include "recipe/json_schema.h"
#include "recipe/lock.h"
#include "recipe/recipe.h"
#include "recipe/yaml_text.h"
#include "report/read_report.h"

namespace edgecompress::cli {
namespace {

using Action = RecipeCommandOptions::Action;
namespace fs = std::filesystem;

constexpr std::uint64_t kReportLimit = std::uint64_t{1} << 28;

std::vector<NamedMatrix> matrices_of(const fs::path& model) {
  std::vector<NamedMatrix> out;
  for (const auto& [module, shape] : model_matrices(ModelFolder::open(model).config())) {
    const MatrixRole role = module == kEmbeddingModule ? MatrixRole::Embedding
                            : module == kHeadModule    ? MatrixRole::Head
                                                       : MatrixRole::Block;
    out.push_back({.module = module, .in_features = shape.in_features, .role = role});
  }
  return out;
}

/// What a recipe that is run for years should have.
std::vector<std::string> lints(const Recipe& recipe) {
  std::vector<std::string> out;
  if (recipe.calibration && !recipe.calibration->sha256) {
    out.push_back("calibration has no sha256: another text would give other bytes unnoticed");
  }
  if (!recipe.evaluation) out.push_back("no evaluate: the report will not say what was lost");
  if (recipe.gates.empty()) out.push_back("no gates: a bad result would still exit with 0");
  return out;
}

void check_one(const fs::path& path, const RecipeCommandOptions& options, std::ostream& out) {
  const Recipe recipe = read_recipe(path, options.overrides);
  std::vector<std::string> warnings;
  if (!options.model.empty()) {
    warnings = check_targets(recipe, matrices_of(options.model));
    check_texts(recipe);
  }
  if (options.strict) {
    for (const std::string& lint : lints(recipe)) warnings.push_back(lint);
  }
  const std::size_t count = recipe.steps.size();
  out << "ok       " << printable(path.string()) << "  " << recipe.name << ", " << count
      << (count == 1 ? " step\n" : " steps\n");
  for (const std::string& warning : warnings) out << "warning  " << printable(warning) << "\n";
  if (options.strict && !warnings.empty()) {
    throw Error(ErrorKind::Usage, "R-STRICT",
                concat(path.string(), ": warnings are errors with --strict"));
  }
}

int check(const RecipeCommandOptions& options, std::ostream& out, std::ostream& err) {
  int code = 0;
  for (const fs::path& path : options.recipes) {
    const auto one = [&] {
      check_one(path, options, out);
      return 0;
    };
    code = std::max(code, run_reporting_errors(one, err));
  }
  return code;
}

void explain(const RecipeCommandOptions& options, std::ostream& out) {
  const Recipe recipe = read_recipe(options.recipes.front(), options.overrides);
  const std::vector<NamedMatrix> matrices = matrices_of(options.model);
  const std::vector<std::string> warnings = check_targets(recipe, matrices);
  const std::vector<ModuleExplanation> modules = explain_recipe(recipe, matrices);
  if (options.json) {
    nlohmann::ordered_json document = nlohmann::ordered_json::array();
    for (const ModuleExplanation& module : modules) {
      document.push_back({{"module", module.module}, {"actions", module.actions}});
    }
    out << document.dump(1) << "\n";
    return;
  }
  for (const ModuleExplanation& module : modules) {
    out << module.module << "\n";
    if (module.actions.empty()) out << "  stays as it is\n";
    for (const std::string& action : module.actions) out << "  " << action << "\n";
  }
  for (const std::string& warning : warnings) out << "warning  " << printable(warning) << "\n";
}

void show(const RecipeCommandOptions& options, std::ostream& out) {
  const Recipe recipe = read_recipe(options.recipes.front(), options.overrides);
  if (!options.effective && !options.origin) {
    out << recipe.document->sources.front().text;
    return;
  }
  std::vector<std::string> origins;
  if (options.origin) {
    for (const RecipeSource& source : recipe.document->sources)
      origins.push_back(printable(source.name));
  }
  out << yaml_text(recipe.document->root, origins);
}

void init(const RecipeCommandOptions& options, std::ostream& out) {
  const fs::path& path = options.recipes.front();
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) {
    throw Error(ErrorKind::Output, "O-CREATE",
                concat(path.string(), " exists; choose another name or delete it"));
  }
  write_file_atomically(path, kStarterRecipe);
  out << "wrote " << path.string() << "; check it with: edgecompress recipe check " << path.string()
      << "\n";
}

/// "w4.ec.yaml" -> "w4.lock.yaml"
fs::path lock_path(const RecipeCommandOptions& options) {
  if (!options.output.empty()) return options.output;
  std::string name = options.recipes.front().filename().string();
  name = name.substr(0, name.find('.'));
  return options.recipes.front().parent_path() / (name + ".lock.yaml");
}

void lock(const RecipeCommandOptions& options, std::ostream& out) {
  const Recipe recipe = read_recipe(options.recipes.front(), options.overrides);
  const std::vector<NamedMatrix> matrices = matrices_of(options.model);
  check_targets(recipe, matrices);
  check_texts(recipe);
  const fs::path path = lock_path(options);
  std::optional<Report> report;
  if (!options.report.empty()) {
    report = read_report(read_text_file(options.report, kReportLimit), options.report.string());
  }
  write_file_atomically(path,
                        locked_recipe(recipe, options.model, path, report ? &*report : nullptr));
  out << "wrote " << path.string() << "\n";
}

CLI::App* add_action(CLI::App& recipe, RecipeCommandOptions& options, Action action,
                     const std::string& name, const std::string& help) {
  CLI::App* const command = recipe.add_subcommand(name, help);
  command->callback([&options, action] { options.action = action; });
  return command;
}

void add_model(CLI::App& command, RecipeCommandOptions& options) {
  command.add_option("--model", options.model, "Llama folder; only its headers are read");
}

void add_one_recipe(CLI::App& command, RecipeCommandOptions& options, const std::string& help) {
  command.add_option("recipe", options.recipes, help)->required()->expected(1);
}

}  // namespace

CLI::App* add_recipe(CLI::App& app, RecipeCommandOptions& options) {
  CLI::App* const recipe = app.add_subcommand("recipe", "check, explain and write recipe files");
  recipe->require_subcommand(1);

  CLI::App* const checks = add_action(*recipe, options, Action::Check, "check",
                                      "check recipe files; all problems are shown at once");
  checks->add_option("recipe", options.recipes, "recipe files")->required();
  add_model(*checks, options);
  add_override_flags(*checks, options.overrides);
  checks->add_flag("--strict", options.strict, "warnings are errors, and look for more");
  checks->footer(
      "Examples:\n"
      "  edgecompress recipe check recipes/quickstart.ec.yaml\n"
      "  edgecompress recipe check recipes/quickstart.ec.yaml --model tests/models/mini-llama");

  CLI::App* const explains = add_action(*recipe, options, Action::Explain, "explain",
                                        "show what happens to each matrix of a model");
  add_one_recipe(*explains, options, "recipe file");
  explains->add_option("--model", options.model, "Llama folder; only its headers are read")
      ->required();
  add_override_flags(*explains, options.overrides);
  explains->add_flag("--json", options.json, "print JSON");
  explains->footer(
      "Examples:\n"
      "  edgecompress recipe explain recipes/quickstart.ec.yaml --model tests/models/mini-llama\n"
      "  edgecompress recipe explain recipes/quickstart.ec.yaml --model tests/models/mini-llama "
      "--json");

  CLI::App* const shows =
      add_action(*recipe, options, Action::Show, "show", "print a recipe, or what it comes to");
  add_one_recipe(*shows, options, "recipe file");
  add_override_flags(*shows, options.overrides);
  shows->add_flag("--effective", options.effective,
                  "with its bases, variables and --set put together");
  shows->add_flag("--origin", options.origin, "the same, and where each value was written");
  shows->footer(
      "Examples:\n"
      "  edgecompress recipe show recipes/quickstart.ec.yaml --effective\n"
      "  edgecompress recipe show recipes/quickstart.ec.yaml --origin --set "
      "steps.quant.quantize.weights.bits=8");

  CLI::App* const inits =
      add_action(*recipe, options, Action::Init, "init", "write a recipe to start from");
  add_one_recipe(*inits, options, "file to write, *.ec.yaml");
  inits->footer(
      "Examples:\n"
      "  edgecompress recipe init mine.ec.yaml\n"
      "  edgecompress recipe init recipes/release.ec.yaml");

  CLI::App* const schemas = add_action(*recipe, options, Action::Schema, "schema",
                                       "print the JSON Schema (draft-07) of recipes, for editors");
  schemas->footer(
      "Examples:\n"
      "  edgecompress recipe schema\n"
      "  edgecompress recipe schema > edgecompress-recipe.v1.schema.json");

  CLI::App* const locks =
      add_action(*recipe, options, Action::Lock, "lock",
                 "write the recipe with the hashes of model and texts: run it for the same bytes");
  add_one_recipe(*locks, options, "recipe file");
  locks->add_option("--model", options.model, "Llama folder; read whole")->required();
  locks->add_option("-o,--output", options.output,
                    "file to write; default NAME.lock.yaml beside it");
  locks->add_option("--report", options.report,
                    "report.json of a run of this recipe: the grids that its size target chose "
                    "become rules");
  add_override_flags(*locks, options.overrides);
  locks->footer(
      "Examples:\n"
      "  edgecompress recipe lock recipes/quickstart.ec.yaml --model tests/models/mini-llama\n"
      "  edgecompress recipe lock release.ec.yaml --model llama -o release-1.lock.yaml");
  recipe->footer(
      "Examples:\n"
      "  edgecompress recipe check recipes/quickstart.ec.yaml\n"
      "  edgecompress recipe show recipes/quickstart.ec.yaml --effective");
  return recipe;
}

int run_recipe_command(const RecipeCommandOptions& options, std::ostream& out, std::ostream& err) {
  switch (options.action) {
    case Action::Check:
      return check(options, out, err);
    case Action::Explain:
      explain(options, out);
      return 0;
    case Action::Show:
      show(options, out);
      return 0;
    case Action::Init:
      init(options, out);
      return 0;
    case Action::Schema:
      out << recipe_json_schema().dump(1) << "\n";
      return 0;
    case Action::Lock:
      lock(options, out);
      return 0;
  }
  return 0;
}

}  // namespace edgecompress::cli
