#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "edgecompress/eval_command.h"
#include "edgecompress/export_command.h"
#include "edgecompress/generate_command.h"
#include "edgecompress/inspect_command.h"
#include "edgecompress/limits_command.h"
#include "edgecompress/plan_command.h"
#include "edgecompress/progress_line.h"
#include "edgecompress/prune_command.h"
#include "edgecompress/quantize_command.h"
#include "edgecompress/recipe_command.h"
#include "edgecompress/recover_command.h"
#include "edgecompress/report_command.h"
#include "edgecompress/run_command.h"
#include "edgecompress/status_command.h"
#include "edgecompress/verify_command.h"

namespace edgecompress::cli {

using Command = std::variant<InspectOptions, PruneOptions, QuantizeOptions, RecoverOptions,
                             ExportCommandOptions, EvalOptions, RunCommandOptions, VerifyOptions,
                             RecipeCommandOptions, PlanCommandOptions, ReportCommandOptions,
                             DiffCommandOptions, GenerateOptions, StatusOptions, LimitsOptions>;

/// Parses the arguments behind the program's name.
///
/// Returns  the command; or nothing when help or the version was asked for and has been printed to
/// `out`. Throws   Error{Usage} with what was wrong, and the nearest name when a command or flag is
/// misspelled.
std::optional<Command> parse_command_line(const std::vector<std::string>& arguments,
                                          std::ostream& out);

/// What --log-file names; empty without it.
std::filesystem::path log_file_of(const Command& command);

/// How --progress, --quiet and --verbose ask for progress; None for commands that have none.
ProgressLine::Style progress_style_of(const Command& command);

/// The argument list as the engine understands it: main's arguments without the program's name.
std::vector<std::string> arguments_of(int argc, char** argv);

}  // namespace edgecompress::cli
