#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct RecipeCommandOptions {
  enum class Action { Check, Explain, Show, Init, Schema, Lock };
  Action action = Action::Check;
  std::vector<std::filesystem::path> recipes;  ///< one, but for check
  std::vector<std::string> overrides;
  std::filesystem::path model;   ///< empty: none
  std::filesystem::path output;  ///< of lock; empty: beside the recipe
  std::filesystem::path report;  ///< of lock: freezes the grids it states; empty: none
  bool strict = false;
  bool effective = false;
  bool origin = false;
  bool json = false;
};

CLI::App* add_recipe(CLI::App& app, RecipeCommandOptions& options);

/// Does what the chosen command of `recipe` does; no weight is read but by lock. Returns the exit
/// code. check goes on after a wrong file and prints its problems to `err`.
int run_recipe_command(const RecipeCommandOptions& options, std::ostream& out, std::ostream& err);

}  // namespace edgecompress::cli
