#include <csignal>
#include <iostream>

#include "base/error.h"
#include "base/memory_budget.h"
#include "base/parallel.h"
#include "edgecompress/command_line.h"
#include "edgecompress/engine_launch.h"
#include "edgecompress/interrupt.h"
#include "edgecompress/program.h"
#include "llama/model_folder.h"

namespace {

using namespace edgecompress;

/// What can be refused in milliseconds is refused here, before LibTorch is loaded.
struct Preflight {
  int operator()(const cli::PruneOptions& options) const {
    cli::prune_recipe(options);
    return folder(options.output.model, options.compute);
  }
  int operator()(const cli::QuantizeOptions& options) const {
    cli::quantize_recipe(options);
    return folder(options.output.model, options.compute);
  }
  int operator()(const cli::RecoverOptions& options) const {
    cli::training_choice(options);
    if (!options.teacher.empty()) ModelFolder::open(options.teacher);
    return folder(options.output.model, options.compute);
  }
  int operator()(const cli::ExportCommandOptions& options) const {
    return folder(options.output.model, options.compute);
  }
  int operator()(const cli::EvalOptions& options) const {
    return options.model.empty() ? threads(options.compute)
                                 : folder(options.model, options.compute);
  }
  int operator()(const cli::RunCommandOptions& options) const {
    cli::recipe_of(options);
    return folder(options.output.model, options.compute);
  }
  int operator()(const cli::InspectOptions&) const { return 1; }
  int operator()(const cli::VerifyOptions&) const { return 1; }
  int operator()(const cli::RecipeCommandOptions&) const { return 1; }
  int operator()(const cli::ReportCommandOptions&) const { return 1; }
  int operator()(const cli::DiffCommandOptions&) const { return 1; }
  int operator()(const cli::GenerateOptions&) const { return 1; }
  int operator()(const cli::StatusOptions&) const { return 1; }
  int operator()(const cli::LimitsOptions&) const { return 1; }
  int operator()(const cli::PlanCommandOptions& options) const {
    read_recipe(options.recipe, options.overrides);
    if (options.shape.empty()) ModelFolder::open(options.model);
    return 1;
  }

  static int folder(const std::filesystem::path& model, const cli::ComputeFlags& compute) {
    ModelFolder::open(model);
    return threads(compute);
  }
  static int threads(const cli::ComputeFlags& compute) {
    if (!compute.max_memory.empty()) parse_memory_size(compute.max_memory);
    return compute.threads > 0 ? compute.threads : available_threads();
  }
};

void open_log(const cli::Command& command, const std::vector<std::string>& arguments,
              cli::RunLog& log) {
  const std::filesystem::path file = cli::log_file_of(command);
  if (file.empty()) return;
  log.open(file);
  log.begin(arguments);
}

int verify(const cli::Command& command, const cli::VerifyOptions& options, cli::RunLog& log) {
  cli::ProgressLine line(log.screen(), cli::progress_style_of(command));
  const Verification verification = cli::verify(options, [&](const ProgressEvent& event) {
    line.show(event);
    log.show(event);
  });
  line.clear();
  return cli::print_verification(verification, options, std::cout);
}

int run(const std::vector<std::string>& arguments, cli::RunLog& log) {
  const std::optional<cli::Command> command = cli::parse_command_line(arguments, std::cout);
  if (!command) return 0;
  if (const auto* inspect = std::get_if<cli::InspectOptions>(&*command)) {
    cli::run_inspect(*inspect, std::cout);
    return 0;
  }
  if (const auto* options = std::get_if<cli::VerifyOptions>(&*command)) {
    open_log(*command, arguments, log);
    return verify(*command, *options, log);
  }
  if (const auto* recipe = std::get_if<cli::RecipeCommandOptions>(&*command)) {
    return cli::run_recipe_command(*recipe, std::cout, std::cerr);
  }
  if (const auto* report = std::get_if<cli::ReportCommandOptions>(&*command)) {
    cli::run_report_command(*report, std::cout);
    return 0;
  }
  if (const auto* generate = std::get_if<cli::GenerateOptions>(&*command)) {
    cli::run_generate(*generate, std::cout);
    return 0;
  }
  if (const auto* diff = std::get_if<cli::DiffCommandOptions>(&*command)) {
    return cli::run_diff(*diff, std::cout, std::cerr);
  }
  if (const auto* status = std::get_if<cli::StatusOptions>(&*command)) {
    cli::run_status(*status, std::cout);
    return 0;
  }
  if (const auto* limits = std::get_if<cli::LimitsOptions>(&*command)) {
    cli::run_limits(*limits, std::cout);
    return 0;
  }
  open_log(*command, arguments, log);
  const int num_threads = std::visit(Preflight{}, *command);
  cli::ProgressLine::show_start(log.screen(), cli::progress_style_of(*command));
  cli::start_engine(arguments, num_threads);
}

}  // namespace

int main(int argc, char** argv) {
  cli::occupy_closed_streams();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away must not end a long run half way
  cli::watch_lost_pages();
  return cli::run_program(argc, argv, run);
}
