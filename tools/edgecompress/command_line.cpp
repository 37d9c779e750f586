#include "edgecompress/command_line.h"

#include <algorithm>
#include <ostream>
#include <string_view>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "base/suggest.h"
#include "base/version.h"
#include "edgecompress/machine_limits.h"
#include "edgecompress/shell_support.h"

namespace edgecompress::cli {
namespace {

/// "; did you mean X?" for the nearest name that is near enough.
std::string suggestion(std::string_view given, const std::vector<std::string>& names) {
  const std::string meant = nearest(given, names);
  return meant.empty() ? "" : concat("; did you mean ", meant, "?");
}

[[noreturn]] void fail_usage(const std::string& message) {
  throw Error(ErrorKind::Usage, "U-ARGUMENT", message);
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> flag_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// The command that the first arguments name, and how many arguments that takes.
struct ChosenCommand {
  const CLI::App* app;
  std::size_t depth = 0;
};

ChosenCommand chosen_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  ChosenCommand chosen{.app = &app};
  for (const std::string& argument : arguments) {
    const CLI::App* next = nullptr;
    for (const CLI::App* known : chosen.app->get_subcommands({})) {
      if (known->get_name() == argument) next = known;
    }
    if (next == nullptr) break;
    chosen = {.app = next, .depth = chosen.depth + 1};
  }
  return chosen;
}

void refuse_unknown_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  const ChosenCommand chosen = chosen_command(app, arguments);
  const std::vector<std::string> names = command_names(*chosen.app);
  if (names.empty() || arguments.size() == chosen.depth) return;
  const std::string& argument = arguments[chosen.depth];
  if (argument.starts_with('-')) return;
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  fail_usage(concat("unknown command \"", argument, "\"", suggestion(argument, names),
                    "\n  known commands: ", known));
}

void refuse_unknown_flag(const CLI::App& app, const std::vector<std::string>& arguments) {
  const ChosenCommand chosen = chosen_command(app, arguments);
  if (chosen.depth == 0) return;
  const std::vector<std::string> names = flag_names(*chosen.app);
  for (const std::string& argument : arguments) {
    if (argument == "--") return;
    if (!argument.starts_with("--")) continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::string command;
    for (std::size_t i = 0; i < chosen.depth; ++i) command += (i > 0 ? " " : "") + arguments[i];
    fail_usage(concat(command, " has no flag ", name, suggestion(name, names),
                      "\n  see edgecompress ", command, " --help"));
  }
}

/// Of `--version --json`, which is answered before the line is parsed whole.
bool asks_for_json(const std::vector<std::string>& arguments) {
  return std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
}

CLI::App* add_completion(CLI::App& app, std::string& shell) {
  CLI::App* const command =
      app.add_subcommand("completion", "print a completion script for a shell");
  command->add_option("shell", shell, "bash, zsh or fish")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->required();
  command->footer(
      "Examples:\n"
      "  edgecompress completion bash > ~/.local/share/bash-completion/completions/edgecompress\n"
      "  edgecompress completion fish > ~/.config/fish/completions/edgecompress.fish");
  return command;
}

CLI::App* add_manual(CLI::App& app, std::string& page) {
  CLI::App* const command = app.add_subcommand("man", "print a manual page (roff)");
  command->add_option("command", page, "of this command; without it of the program")
      ->check(CLI::Validator(
          [&app](std::string& name) {
            const std::vector<std::string> names = command_names(app);
            const bool known = std::find(names.begin(), names.end(), name) != names.end();
            return known ? std::string() : "unknown command " + name;
          },
          "COMMAND"));
  command->footer(
      "Examples:\n"
      "  edgecompress man quantize | man -l -\n"
      "  edgecompress man > edgecompress.1");
  return command;
}

}  // namespace

std::optional<Command> parse_command_line(const std::vector<std::string>& arguments,
                                          std::ostream& out) {
  CLI::App app("Compresses Llama checkpoints for edge devices and proves what was lost.",
               "edgecompress");
  app.set_version_flag("--version", concat("edgecompress ", kVersion));
  bool json = false;
  const CLI::Option* const json_flag =
      app.add_flag("--json", json, "with --version: as JSON, with what it was built with");
  app.require_subcommand(1);
  app.get_formatter()->column_width(28);

  InspectOptions inspect;
  PruneOptions prune;
  QuantizeOptions quantize;
  RecoverOptions recover;
  ExportCommandOptions exporting;
  EvalOptions eval;
  RunCommandOptions run;
  VerifyOptions verify;
  RecipeCommandOptions recipe;
  PlanCommandOptions plan;
  ReportCommandOptions report;
  DiffCommandOptions diff;
  GenerateOptions generate;
  StatusOptions status;
  LimitsOptions limits;
  const CLI::App* const inspect_app = add_inspect(app, inspect);
  const CLI::App* const prune_app = add_prune(app, prune);
  const CLI::App* const quantize_app = add_quantize(app, quantize);
  const CLI::App* const recover_app = add_recover(app, recover);
  const CLI::App* const export_app = add_export(app, exporting);
  const CLI::App* const eval_app = add_eval(app, eval);
  const CLI::App* const report_app = add_report(app, report);
  const CLI::App* const diff_app = add_diff(app, diff);
  const CLI::App* const generate_app = add_generate(app, generate);
  const CLI::App* const plan_app = add_plan(app, plan);
  const CLI::App* const recipe_app = add_recipe(app, recipe);
  std::string shell;
  const CLI::App* const completion_app = add_completion(app, shell);
  std::string page;
  const CLI::App* const manual_app = add_manual(app, page);
  add_run(app, run);
  const CLI::App* const verify_app = add_verify(app, verify);
  const CLI::App* const status_app = add_status(app, status);
  const CLI::App* const limits_app = add_limits(app, limits);

  refuse_unknown_command(app, arguments);
  refuse_unknown_flag(app, arguments);
  try {
    std::vector<std::string> reversed(arguments.rbegin(),
                                      arguments.rend());  // CLI11 pops from the back
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    out << chosen_command(app, arguments).app->help();
    return std::nullopt;
  } catch (const CLI::CallForVersion& version) {
    out << (asks_for_json(arguments) ? version_json().dump(1) : version.what()) << "\n";
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    fail_usage(error.what());
  }

  if (json_flag->count() > 0) fail_usage("--json without --version belongs behind the command");
  if (completion_app->parsed()) {
    out << completion_script(app, shell);
    return std::nullopt;
  }
  if (manual_app->parsed()) {
    out << manual_page(app, page.empty() ? app : *app.get_subcommand(page));
    return std::nullopt;
  }
  if (inspect_app->parsed()) return inspect;
  if (prune_app->parsed()) return prune;
  if (quantize_app->parsed()) return quantize;
  if (recover_app->parsed()) return recover;
  if (export_app->parsed()) return exporting;
  if (verify_app->parsed()) return verify;
  if (status_app->parsed()) return status;
  if (limits_app->parsed()) return limits;
  if (eval_app->parsed()) {
    if (eval.model.empty() == eval.artifact.empty()) {
      fail_usage("eval needs exactly one of --model and --artifact");
    }
    if (!gates_of(eval.gates).empty() && eval.against.empty()) {
      fail_usage("eval judges gates against another model: give --against");
    }
    return eval;
  }
  if (recipe_app->parsed()) return recipe;
  if (report_app->parsed()) return report;
  if (diff_app->parsed()) return diff;
  if (generate_app->parsed()) return generate;
  if (plan_app->parsed()) {
    if (plan.model.empty() == plan.shape.empty()) {
      fail_usage("plan needs exactly one of --model and --shape");
    }
    return plan;
  }
  return run;
}

namespace {

/// Nothing for commands that are done at once.
std::optional<MessageFlags> messages_of(const Command& command) {
  return std::visit(
      [](const auto& options) -> std::optional<MessageFlags> {
        if constexpr (requires { options.compute; }) return options.compute.messages;
        if constexpr (requires { options.messages; }) return options.messages;
        return {};
      },
      command);
}

}  // namespace

std::filesystem::path log_file_of(const Command& command) {
  return messages_of(command).value_or(MessageFlags{}).log_file;
}

ProgressLine::Style progress_style_of(const Command& command) {
  const std::optional<MessageFlags> flags = messages_of(command);
  if (!flags || flags->quiet) return ProgressLine::Style::None;
  const ProgressLine::Style style =
      ProgressLine::style_of(flags->progress, ::isatty(STDERR_FILENO) != 0);
  const bool for_people = style != ProgressLine::Style::Json;
  return flags->verbose && for_people ? ProgressLine::Style::Every : style;
}

std::vector<std::string> arguments_of(int argc, char** argv) {
  return {argv + std::min(argc, 1), argv + argc};
}

}  // namespace edgecompress::cli
