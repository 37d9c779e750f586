#include <iostream>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "base/memory_budget.h"
#include "base/parallel.h"
#include "edgecompress/command_line.h"
#include "edgecompress/engine_launch.h"
#include "edgecompress/error_report.h"
#include "edgecompress/interrupt.h"
#include "edgecompress/progress_line.h"
#include "edgecompress/recipe_parts.h"
#include "edgecompress/request_flags.h"
#include "pipeline/export_run.h"
#include "pipeline/model_scores.h"
#include "pipeline/recipe_run.h"
#include "pipeline/recover_run.h"
#include "resume/run_journal.h"
#include "tensor/runtime.h"

namespace {

using namespace edgecompress;

EvaluationOptions compute_options(const cli::ComputeFlags& flags) {
  EvaluationOptions options;
  options.num_threads = flags.threads > 0 ? flags.threads : available_threads();
  options.target.dtype = flags.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  if (flags.device == "cuda") {
    if (!has_cuda()) {
      throw Error(ErrorKind::Unsupported, "U-DEVICE",
                  "--device cuda: this build of LibTorch has no CUDA, or no GPU is there");
    }
    options.target.device = at::Device(at::kCUDA, 0);
  }
  set_tensor_threads(options.num_threads);
  return options;
}

ResumeMode resume_mode(const cli::OutputFlags& output) {
  if (output.no_resume) return ResumeMode::Never;
  return output.fresh ? ResumeMode::Fresh : ResumeMode::Auto;
}

RunOptions run_options(const cli::OutputFlags& output, const cli::ComputeFlags& compute,
                       const std::vector<std::string>& arguments) {
  RunOptions options;
  options.model = output.model;
  options.output = output.output;
  options.existing = output.overwrite ? ExistingOutput::Replace : ExistingOutput::Refuse;
  options.compute = compute_options(compute);
  options.stop_requested = cli::take_interrupt;
  options.memory_budget =
      compute.max_memory.empty() ? default_memory_budget() : parse_memory_size(compute.max_memory);
  options.resume = resume_mode(output);
  options.request = cli::request_flags(arguments);
  return options;
}

/// Says on stderr what an interrupted run had done.
void print_interrupted(const cli::OutputFlags& output) {
  const std::optional<std::string> unit = interrupted_unit(output.output);
  if (!unit || resume_mode(output) != ResumeMode::Auto) return;
  std::cerr << "an interrupted run had finished " << *unit << " ("
            << staging_place(output.output).string() << ")" << std::endl;
}

/// Says on stderr what a run that ends early leaves.
void print_kept(const cli::OutputFlags& output) {
  const std::optional<std::string> unit = interrupted_unit(output.output);
  if (!unit) return;
  std::cerr << *unit << " is done and kept in " << staging_place(output.output).string()
            << "; the same command goes on behind it" << std::endl;
}

void print_report(const Report& report, const cli::OutputFlags& output) {
  if (output.json) {
    std::cout << report_json(report).dump(1) << "\n";
  } else {
    std::cout << report_table(report) << "output: " << output.output.string() << "\n";
  }
}

void print_scores(const EvalResult& result, const cli::EvalOptions& options) {
  nlohmann::ordered_json document{
      {"protocol", options.protocol},          {"perplexity", result.scores.perplexity},
      {"windows", result.scores.windows},      {"window", result.windows.length},
      {"tokens", result.scores.target_tokens}, {"token_sha256", result.windows.sha256},
      {"dtype", options.compute.dtype}};
  if (result.scores.kl_divergence_nats) {
    document["kl_divergence"] = *result.scores.kl_divergence_nats;
    document["top1_agreement"] = *result.scores.top1_agreement;
  }
  if (options.json) {
    std::cout << document.dump(1) << "\n";
    return;
  }
  for (const auto& [name, value] : document.items()) {
    std::cout << name << std::string(18 - name.size(), ' ')
              << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
  }
}

struct Work {
  const std::vector<std::string>& arguments;
  const Progress& progress;

  /// Runs body(options), which writes a folder and returns the report.
  template <typename Body>
  void write(const cli::OutputFlags& output, const cli::ComputeFlags& compute,
             const Body& body) const {
    RunOptions run = run_options(output, compute, arguments);
    print_interrupted(output);
    try {
      print_report(body(run), output);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::Conflict) print_kept(output);
      throw;
    } catch (...) {
      print_kept(output);
      throw;
    }
  }

  void operator()(const cli::PruneOptions& options) const {
    write(options.output, options.compute, [&](const RunOptions& run) {
      return run_recipe(cli::prune_recipe(options), "prune", run, progress);
    });
  }
  void operator()(const cli::QuantizeOptions& options) const {
    write(options.output, options.compute, [&](const RunOptions& run) {
      return run_recipe(cli::quantize_recipe(options), "quantize", run, progress);
    });
  }
  void operator()(const cli::RecoverOptions& options) const {
    RecoverRequest request{
        .teacher = options.teacher,
        .text = {.text = options.training_text, .sequence_length = options.sequence_length},
        .choice = cli::training_choice(options),
        .evaluation = cli::recipe_with_texts({}, options.score_text).evaluation};
    if (options.samples > 0) request.text.samples = options.samples;
    write(options.output, options.compute,
          [&](const RunOptions& run) { return run_recover(request, run, progress); });
  }
  void operator()(const cli::ExportCommandOptions& options) const {
    write(options.output, options.compute, [&](RunOptions& run) {
      run.artifact_check = options.skip_check ? ArtifactCheck::Skip : ArtifactCheck::Run;
      run.onnxruntime = options.onnxruntime;
      return run_export(cli::export_options(options, run.compute.num_threads), run, progress);
    });
  }
  void operator()(const cli::RunCommandOptions& options) const {
    write(options.output, options.compute, [&](RunOptions& run) {
      run.checkpoint = options.keep_checkpoint ? Checkpoint::Keep : Checkpoint::Discard;
      run.artifact_check = options.skip_check ? ArtifactCheck::Skip : ArtifactCheck::Run;
      run.speed_test = options.skip_speed_test ? SpeedTest::Skip : SpeedTest::Run;
      run.onnxruntime = options.onnxruntime;
      return run_recipe(read_recipe(options.recipe), "run", run, progress);
    });
  }
  void operator()(const cli::EvalOptions& options) const {
    EvalRequest request{.model = options.model,
                        .artifact = options.artifact,
                        .against = options.against,
                        .text = options.text,
                        .protocol = options.protocol,
                        .windows = {.length = options.window, .max_count = {}},
                        .compute = compute_options(options.compute),
                        .onnxruntime = options.onnxruntime};
    if (options.windows > 0) request.windows.max_count = options.windows;
    if (options.window_order == "first") request.windows.order = WindowOrder::First;
    print_scores(run_eval(request, progress), options);
  }
  void operator()(const cli::InspectOptions& options) const {
    cli::run_inspect(options, std::cout);
  }
  void operator()(const cli::VerifyOptions& options) const { cli::run_verify(options, std::cout); }
};

int run(const std::vector<std::string>& arguments) {
  cli::ensure_engine_environment();
  const std::optional<cli::Command> command = cli::parse_command_line(arguments, std::cout);
  if (!command) return 0;
  cli::ProgressLine line(std::cerr, ::isatty(STDERR_FILENO) != 0
                                        ? cli::ProgressLine::Style::Terminal
                                        : cli::ProgressLine::Style::Plain);
  const Progress progress = [&](const ProgressEvent& event) {
    line.show(event);
    cli::stop_if_interrupted();
  };
  try {
    std::visit(Work{arguments, progress}, *command);
  } catch (const cli::Interrupted& interrupted) {
    std::cerr << "stopped; nothing was published" << std::endl;
    return 128 + interrupted.signal;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  cli::watch_signals();
  const int code =
      cli::run_reporting_errors([&] { return run(cli::arguments_of(argc, argv)); }, std::cerr);
  if (!std::cout.flush() && code == 0) {
    std::cerr << "error[F-WRITE]: cannot write to standard output" << std::endl;
    return cli::exit_code(ErrorKind::Io);
  }
  return code;
}
