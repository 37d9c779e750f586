#include "edgecompress/command_line.h"

#include <algorithm>
#include <ostream>
#include <string_view>

#include "base/error.h"
#include "base/version.h"

namespace edgecompress::cli {
namespace {

/// Levenshtein distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

/// "; did you mean X?" for the nearest name that is near enough.
std::string suggestion(std::string_view given, const std::vector<std::string>& names) {
  const auto nearest =
      std::min_element(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
        return edit_distance(given, a) < edit_distance(given, b);
      });
  if (nearest == names.end() || edit_distance(given, *nearest) > given.size() / 3 + 1) return "";
  return concat("; did you mean ", *nearest, "?");
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

void refuse_unknown_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front().starts_with('-')) return;
  const std::vector<std::string> names = command_names(app);
  if (std::find(names.begin(), names.end(), arguments.front()) != names.end()) return;
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  fail_usage(concat("unknown command \"", arguments.front(), "\"",
                    suggestion(arguments.front(), names), "\n  known commands: ", known));
}

void refuse_unknown_flag(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* command = nullptr;
  for (const CLI::App* known : app.get_subcommands({})) {
    if (!arguments.empty() && known->get_name() == arguments.front()) command = known;
  }
  if (command == nullptr) return;
  const std::vector<std::string> names = flag_names(*command);
  for (const std::string& argument : arguments) {
    if (argument == "--") return;
    if (!argument.starts_with("--")) continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    fail_usage(concat(command->get_name(), " has no flag ", name, suggestion(name, names),
                      "\n  see edgecompress ", command->get_name(), " --help"));
  }
}

}  // namespace

std::optional<Command> parse_command_line(const std::vector<std::string>& arguments,
                                          std::ostream& out) {
  CLI::App app("Compresses Llama checkpoints for edge devices and proves what was lost.",
               "edgecompress");
  app.set_version_flag("--version", concat("edgecompress ", kVersion));
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
  const CLI::App* const inspect_app = add_inspect(app, inspect);
  const CLI::App* const prune_app = add_prune(app, prune);
  const CLI::App* const quantize_app = add_quantize(app, quantize);
  const CLI::App* const recover_app = add_recover(app, recover);
  const CLI::App* const export_app = add_export(app, exporting);
  const CLI::App* const eval_app = add_eval(app, eval);
  add_run(app, run);
  const CLI::App* const verify_app = add_verify(app, verify);

  refuse_unknown_command(app, arguments);
  refuse_unknown_flag(app, arguments);
  try {
    std::vector<std::string> reversed(arguments.rbegin(),
                                      arguments.rend());  // CLI11 pops from the back
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    const std::vector<CLI::App*> chosen = app.get_subcommands();
    out << (chosen.empty() ? app.help() : chosen.front()->help());
    return std::nullopt;
  } catch (const CLI::CallForVersion& version) {
    out << version.what() << "\n";
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    fail_usage(error.what());
  }

  if (inspect_app->parsed()) return inspect;
  if (prune_app->parsed()) return prune;
  if (quantize_app->parsed()) return quantize;
  if (recover_app->parsed()) return recover;
  if (export_app->parsed()) return exporting;
  if (verify_app->parsed()) return verify;
  if (eval_app->parsed()) {
    if (eval.model.empty() == eval.artifact.empty()) {
      fail_usage("eval needs exactly one of --model and --artifact");
    }
    return eval;
  }
  return run;
}

std::vector<std::string> arguments_of(int argc, char** argv) {
  return {argv + std::min(argc, 1), argv + argc};
}

}  // namespace edgecompress::cli
