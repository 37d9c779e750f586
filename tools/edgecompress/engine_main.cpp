#include <cstdlib>
#include <iostream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/memory_budget.h"
#include "base/output_writer.h"
#include "base/parallel.h"
#include "edgecompress/command_line.h"
#include "edgecompress/engine_launch.h"
#include "edgecompress/github_actions.h"
#include "edgecompress/interrupt.h"
#include "edgecompress/program.h"
#include "edgecompress/progress_line.h"
#include "edgecompress/recipe_parts.h"
#include "edgecompress/request_flags.h"
#include "llama/hollow_model.h"
#include "llama/known_shapes.h"
#include "pipeline/export_run.h"
#include "pipeline/model_scores.h"
#include "pipeline/output_plan.h"
#include "pipeline/recipe_run.h"
#include "pipeline/recover_run.h"
#include "pipeline/time_estimate.h"
#include "recipe/lock.h"
#include "report/html_report.h"
#include "report/text_numbers.h"
#include "resume/run_journal.h"
#include "tensor/runtime.h"
#include "verify/input_manifest.h"

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

std::uint64_t memory_budget(const cli::ComputeFlags& compute) {
  return compute.max_memory.empty() ? default_memory_budget()
                                    : parse_memory_size(compute.max_memory);
}

ResumeMode resume_mode(const cli::OutputFlags& output) {
  if (output.no_resume) return ResumeMode::Never;
  return output.fresh ? ResumeMode::Fresh : ResumeMode::Auto;
}

RunOptions run_options(const cli::OutputFlags& output, const cli::ComputeFlags& compute,
                       const std::vector<std::string>& arguments,
                       const cli::GateFlags& gates = {}) {
  RunOptions options;
  options.model = output.model;
  options.input_manifest = output.input_manifest;
  options.output = output.output;
  options.existing = output.overwrite ? ExistingOutput::Replace : ExistingOutput::Refuse;
  options.compute = compute_options(compute);
  options.stop_requested = cli::take_interrupt;
  options.memory_budget = memory_budget(compute);
  options.resume = resume_mode(output);
  options.request = cli::request_flags(arguments);
  if (gates.gate_before_publish) options.gate_failure = GateFailure::Discard;
  return options;
}

/// Says on stderr how an interrupted run ended and what it had done.
void print_interrupted(const cli::OutputFlags& output) {
  if (was_killed(output.output)) {
    std::cerr << "the run before was killed; if memory ran out, give a smaller --max-memory"
              << std::endl;
  }
  const std::optional<std::string> unit = interrupted_unit(output.output);
  if (!unit || resume_mode(output) != ResumeMode::Auto || writer_of(output.output)) return;
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

constexpr int kGateFailed = 1;

/// Says which gates failed. Returns the exit code.
int judged(const std::vector<GateReport>& gates) {
  if (all_passed(gates)) return 0;
  for (const GateReport& gate : gates) {
    if (gate.passed) continue;
    std::cerr << "gate failed: " << gate_name(gate.metric) << " is "
              << (gate.value ? gate_number(gate.metric, *gate.value) : "not measured")
              << (is_upper_limit(gate.metric) ? ", allowed is at most " : ", needed is at least ")
              << gate_number(gate.metric, gate.limit) << std::endl;
  }
  cli::annotate_gates(gates, std::cerr);
  return kGateFailed;
}

int print_report(const Report& report, const cli::OutputFlags& output, const RunOptions& run) {
  const bool published = run.gate_failure == GateFailure::Publish || all_passed(report.gates);
  if (output.json) {
    std::cout << report_json(report).dump(1) << "\n";
  } else {
    std::cout << report_table(report)
              << "output: " << (published ? output.output.string() : "not published, a gate failed")
              << "\n";
  }
  cli::add_step_summary(markdown_report(report));
  return judged(report.gates);
}

std::optional<double> eval_gate_value(const EvalResult& result, GateMetric metric) {
  if (metric == GateMetric::KlDivergence) return result.scores.kl_divergence_nats;
  if (metric == GateMetric::Top1Agreement) return result.scores.top1_agreement;
  if (!result.scores.reference_perplexity) return {};
  return result.scores.perplexity / *result.scores.reference_perplexity - 1;
}

/// Returns the exit code.
int print_scores(const EvalResult& result, const cli::EvalOptions& options) {
  nlohmann::ordered_json document{
      {"protocol", options.protocol},          {"perplexity", result.scores.perplexity},
      {"windows", result.scores.windows},      {"window", result.windows.length},
      {"tokens", result.scores.target_tokens}, {"token_sha256", result.windows.sha256},
      {"dtype", options.compute.dtype}};
  if (result.activations) document["activations"] = activation_name(*result.activations);
  if (result.scores.kl_divergence_nats) {
    document["kl_divergence"] = *result.scores.kl_divergence_nats;
    document["top1_agreement"] = *result.scores.top1_agreement;
  }
  if (result.scores.reference_perplexity)
    document["reference_perplexity"] = *result.scores.reference_perplexity;
  std::vector<GateReport> gates;
  for (const Gate& gate : cli::gates_of(options.gates)) {
    gates.push_back(judge(gate, eval_gate_value(result, gate.metric)));
  }
  for (const GateReport& gate : gates) document["gates"].push_back(gate_json(gate));
  if (options.json) {
    std::cout << document.dump(1) << "\n";
    return judged(gates);
  }
  document.erase("gates");
  for (const auto& [name, value] : document.items()) {
    std::cout << name << std::string(22 - name.size(), ' ')
              << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
  }
  std::cout << gate_table(gates);
  return judged(gates);
}

int print_plan(const OutputPlan& plan, const std::optional<TimeEstimate>& time, PlanDetail detail,
               bool json) {
  if (!json) {
    std::cout << plan_table(plan, detail) << (time ? time_text(*time) : "");
    return 0;
  }
  nlohmann::ordered_json document = plan_json(plan);
  if (time) document["time"] = time_json(*time);
  std::cout << document.dump(1) << "\n";
  return 0;
}

int run_plan(const cli::PlanCommandOptions& options) {
  const Recipe recipe = read_recipe(options.recipe, options.overrides);
  RunOptions run;
  run.speed_test = options.skip_speed_test ? SpeedTest::Skip : SpeedTest::Run;
  run.compute = compute_options({});
  const PlanDetail detail = options.tensors ? PlanDetail::Tensors : PlanDetail::Totals;
  const auto time_of = [&](const ModelFolder& model) {
    return options.skip_time ? std::nullopt : std::optional(estimate_time(model, recipe, run));
  };
  if (options.shape.empty()) {
    const ModelFolder model = ModelFolder::open(options.model);
    return print_plan(plan_output(model, recipe, run), time_of(model), detail, options.json);
  }
  const LlamaConfig config = known_shape(options.shape);
  const HollowModel hollow(config, float_forms(config), HeadValues::OfItsOwn, {});
  OutputPlan plan = plan_output(hollow.folder(), recipe, run);
  plan.model = options.shape;
  return print_plan(plan, time_of(hollow.folder()), detail, options.json);
}

int print_export_plan(const cli::ExportCommandOptions& options) {
  const ArtifactSizes sizes =
      plan_onnx(ModelFolder::open(options.output.model), cli::export_options(options, 1));
  const nlohmann::ordered_json document{
      {"schema", "edgecompress.export-plan/v1"}, {"bytes_after", sizes.total()},
      {"data_bytes", sizes.data_bytes},          {"graph_bytes", sizes.graph_bytes},
      {"other_bytes", sizes.other_bytes},        {"warnings", sizes.warnings}};
  if (options.output.json) {
    std::cout << document.dump(1) << "\n";
    return 0;
  }
  std::cout << "artifact    " << size_text(static_cast<std::int64_t>(sizes.total())) << "  ("
            << sizes.total() << " bytes: data " << sizes.data_bytes << ", graph "
            << sizes.graph_bytes << ", other files " << sizes.other_bytes << ")\n";
  for (const std::string& warning : sizes.warnings) std::cout << "warning     " << warning << "\n";
  return 0;
}

/// What a recipe would do, for --dry-run. Returns the exit code.
int print_recipe_plan(const Recipe& recipe, const cli::OutputFlags& output,
                      const cli::ComputeFlags& compute, SpeedTest speed_test) {
  RunOptions run;
  run.speed_test = speed_test;
  run.memory_budget = memory_budget(compute);
  run.compute = compute_options(compute);
  const ModelFolder model = ModelFolder::open(output.model);
  return print_plan(plan_output(model, recipe, run), estimate_time(model, recipe, run),
                    PlanDetail::Tensors, output.json);
}

struct Work {
  const std::vector<std::string>& arguments;
  cli::ProgressLine& line;
  const Progress& progress;

  /// A plan of other files than those that are listed would say nothing about the run.
  void check_input(const cli::OutputFlags& output, const cli::ComputeFlags& compute) const {
    if (output.input_manifest.empty()) return;
    check_input_hashes(output.model, output.input_manifest, compute_options(compute).num_threads,
                       progress);
    line.clear();
  }

  int plan(const Recipe& recipe, const cli::OutputFlags& output, const cli::ComputeFlags& compute,
           SpeedTest speed_test = SpeedTest::Skip) const {
    check_input(output, compute);
    return print_recipe_plan(recipe, output, compute, speed_test);
  }

  /// Runs body(options), which writes a folder and returns the report. Returns the exit code.
  template <typename Body>
  int write(const cli::OutputFlags& output, const cli::ComputeFlags& compute,
            const cli::GateFlags& gates, const Body& body) const {
    RunOptions run = run_options(output, compute, arguments, gates);
    print_interrupted(output);
    try {
      const Report report = body(run);
      line.clear();
      return print_report(report, output, run);
    } catch (const Error& error) {
      line.clear();
      if (error.kind() != ErrorKind::Conflict) print_kept(output);
      throw;
    } catch (...) {
      line.clear();
      print_kept(output);
      throw;
    }
  }

  int operator()(const cli::PruneOptions& options) const {
    const Recipe recipe = cli::prune_recipe(options);
    if (options.output.dry_run) return plan(recipe, options.output, options.compute);
    return write(options.output, options.compute, options.gates,
                 [&](const RunOptions& run) { return run_recipe(recipe, "prune", run, progress); });
  }
  int operator()(const cli::QuantizeOptions& options) const {
    const Recipe recipe = cli::quantize_recipe(options);
    if (options.output.dry_run) return plan(recipe, options.output, options.compute);
    return write(options.output, options.compute, options.gates, [&](const RunOptions& run) {
      return run_recipe(recipe, "quantize", run, progress);
    });
  }
  int operator()(const cli::RecoverOptions& options) const {
    RecoverRequest request{
        .teacher = options.teacher,
        .text = {.text = options.training_text, .sequence_length = options.sequence_length},
        .choice = cli::training_choice(options),
        .evaluation = cli::recipe_with_texts({}, options.score_text).evaluation};
    if (options.samples > 0) request.text.samples = options.samples;
    return write(options.output, options.compute, {},
                 [&](const RunOptions& run) { return run_recover(request, run, progress); });
  }
  int operator()(const cli::ExportCommandOptions& options) const {
    if (options.output.dry_run) {
      check_input(options.output, options.compute);
      return print_export_plan(options);
    }
    return write(options.output, options.compute, {}, [&](RunOptions& run) {
      run.artifact_check = options.skip_check ? ArtifactCheck::Skip : ArtifactCheck::Run;
      run.onnxruntime = options.onnxruntime;
      return run_export(cli::export_options(options, run.compute.num_threads), run, progress);
    });
  }
  int operator()(const cli::RunCommandOptions& options) const {
    const Recipe recipe = cli::recipe_of(options);
    check_lock(recipe, options.output.model);
    const SpeedTest speed_test = options.skip_speed_test ? SpeedTest::Skip : SpeedTest::Run;
    if (options.output.dry_run) return plan(recipe, options.output, options.compute, speed_test);
    return write(options.output, options.compute, options.gates, [&](RunOptions& run) {
      run.checkpoint = options.keep_checkpoint ? Checkpoint::Keep : Checkpoint::Discard;
      run.artifact_check = options.skip_check ? ArtifactCheck::Skip : ArtifactCheck::Run;
      run.speed_test = speed_test;
      run.onnxruntime = options.onnxruntime;
      return run_recipe(recipe, "run", run, progress);
    });
  }
  int operator()(const cli::EvalOptions& options) const {
    EvalRequest request{.model = options.model,
                        .artifact = options.artifact,
                        .against = options.against,
                        .text = options.text,
                        .protocol = options.protocol,
                        .windows = {.length = options.window, .max_count = {}},
                        .compute = compute_options(options.compute),
                        .onnxruntime = options.onnxruntime};
    if (options.windows > 0) request.windows.max_count = options.windows;
    request.compute.activations = activation_of_name(options.activations);
    if (options.window_order == "first") request.windows.order = WindowOrder::First;
    const EvalResult result = run_eval(request, progress);
    line.clear();
    return print_scores(result, options);
  }
  int operator()(const cli::InspectOptions& options) const {
    cli::run_inspect(options, std::cout);
    return 0;
  }
  int operator()(const cli::VerifyOptions& options) const {
    const Verification verification = cli::verify(options, progress);
    line.clear();
    return cli::print_verification(verification, options, std::cout);
  }
  int operator()(const cli::PlanCommandOptions& options) const { return run_plan(options); }
  int operator()(const cli::ReportCommandOptions& options) const {
    cli::run_report_command(options, std::cout);
    return 0;
  }
  int operator()(const cli::GenerateOptions& options) const {
    cli::run_generate(options, std::cout);
    return 0;
  }
  int operator()(const cli::StatusOptions& options) const {
    cli::run_status(options, std::cout);
    return 0;
  }
  int operator()(const cli::LimitsOptions& options) const {
    cli::run_limits(options, std::cout);
    return 0;
  }
  int operator()(const cli::DiffCommandOptions& options) const {
    return cli::run_diff(options, std::cout, std::cerr);
  }
  int operator()(const cli::RecipeCommandOptions& options) const {
    return cli::run_recipe_command(options, std::cout, std::cerr);
  }
};

/// What a run may use, for -v and for the log.
std::string means_text(const cli::ComputeFlags& compute) {
  return concat(compute.threads > 0 ? compute.threads : available_threads(), " threads, ",
                memory_text(memory_budget(compute)), " of memory, device ", compute.device,
                ", products in ", compute.dtype, ", LibTorch ", torch_version(), " for ",
                instruction_set());
}

void say_means(const cli::Command& command, cli::ProgressLine::Style style, cli::RunLog& log) {
  std::visit(
      [&](const auto& options) {
        if constexpr (requires { options.compute; }) {
          const std::string means = means_text(options.compute);
          if (style == cli::ProgressLine::Style::Every) log.screen() << means << std::endl;
          log.note(means);
        }
      },
      command);
}

int run(const std::vector<std::string>& arguments, cli::RunLog& log) {
  cli::ensure_engine_environment();
  const std::optional<cli::Command> command = cli::parse_command_line(arguments, std::cout);
  if (!command) return 0;
  if (const auto file = cli::log_file_of(*command); !file.empty()) log.open(file);
  const cli::ProgressLine::Style style = cli::progress_style_of(*command);
  say_means(*command, style, log);
  cli::ProgressLine line(log.screen(), style);
  const Progress progress = [&](const ProgressEvent& event) {
    line.show(event);
    log.show(event);
    cli::stop_if_interrupted();
  };
  try {
    return std::visit(Work{arguments, line, progress}, *command);
  } catch (const cli::Interrupted& interrupted) {
    std::cerr << "stopped; nothing was published" << std::endl;
    return 128 + interrupted.signal;
  }
}

}  // namespace

int main(int argc, char** argv) {
  cli::watch_signals();
  const int code = cli::run_program(argc, argv, run);
#ifdef __SANITIZE_ADDRESS__
  return code;  // leaks are looked for behind it
#else
  // the libraries' destructors take a tenth of a second, and free what ends anyway
  std::_Exit(code);
#endif
}
