#include "edgecompress/shared_options.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace edgecompress::cli {

void add_compute_flags(CLI::App& command, ComputeFlags& flags) {
  command
      .add_option("--threads", flags.threads,
                  "threads to use; the result is the same for any number")
      ->check(CLI::Range(1, 1024))
      ->default_str("all");
  command.add_option("--device", flags.device, "where products are computed: cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command.add_option("--dtype", flags.dtype, "type of products: f32 or bf16")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  add_message_flags(command, flags.messages);
}

void add_message_flags(CLI::App& command, MessageFlags& flags) {
  command
      .add_option("--progress", flags.progress,
                  "auto, tty (one living line), plain, json (an event per line) or none")
      ->check(CLI::IsMember({"auto", "tty", "plain", "json", "none"}))
      ->envname("EDGECOMPRESS_PROGRESS")
      ->capture_default_str();
  CLI::Option* const quiet =
      command.add_flag("-q,--quiet", flags.quiet, "no progress; errors and results only");
  command
      .add_flag("-v,--verbose", flags.verbose,
                "a line for every step, and first what the run may use")
      ->excludes(quiet);
  command.add_option("--log-file", flags.log_file,
                     "append messages and every step with its time to this file");
}

void add_memory_flag(CLI::App& command, ComputeFlags& flags) {
  command
      .add_option("--max-memory", flags.max_memory,
                  "memory to stay within, for example 8GiB or 75%; the result is the same for any")
      ->default_str("80% of the machine's or the cgroup's");
}

void add_output_flags(CLI::App& command, OutputFlags& flags) {
  command
      .add_option("--model", flags.model,
                  "Llama folder: config.json, *.safetensors, tokenizer.json")
      ->required();
  command.add_option("--input-manifest", flags.input_manifest,
                     "refuse a model whose files are not those listed here with their SHA-256: "
                     "lines of sha256sum, or edgecompress.manifest.json");
  command.add_option("-o,--output", flags.output, "folder to write; appears only when complete")
      ->required();
  command.add_flag("--overwrite", flags.overwrite,
                   "replace an output that edgecompress wrote before");
  command.add_flag("--fresh", flags.fresh,
                   "delete what an interrupted run left, instead of going on with it");
  command.add_flag("--no-resume", flags.no_resume,
                   "the same, and keep nothing to go on with when this run is interrupted");
  command.add_flag("--json", flags.json, "print the report as JSON on stdout");
}

void add_dry_run_flag(CLI::App& command, OutputFlags& flags) {
  command.add_flag("--dry-run", flags.dry_run,
                   "write nothing; say what would be done, with exact sizes");
}

void add_calibration_flags(CLI::App& command, CalibrationFlags& flags) {
  command.add_option("--calibration", flags.text,
                     "UTF-8 text for methods that look at activations, or JSON lines (*.jsonl) "
                     "with \"text\" or \"input_ids\"");
  command.add_option("--samples", flags.samples, "calibration samples")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--sequence-length", flags.sequence_length, "tokens of a sample")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
}

void add_score_flags(CLI::App& command, ScoreFlags& flags) {
  command.add_option("--text", flags.text, "UTF-8 text to score every stage on");
  command.add_option("--window", flags.window, "tokens of a window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command.add_option("--windows", flags.windows, "at most so many windows, spread evenly")
      ->check(CLI::PositiveNumber)
      ->default_str("all");
}

void add_override_flags(CLI::App& command, std::vector<std::string>& overrides) {
  command
      .add_option("--set", overrides,
                  "change the recipe: PATH=VALUE, as steps.quant.quantize.weights.bits=8; may be "
                  "given several times")
      ->allow_extra_args(false);
}

void refuse_idle_flags(const CLI::App& command, std::initializer_list<const char*> flags,
                       const std::string& why) {
  for (const char* flag : flags) {
    if (command.count(flag) == 0) continue;
    throw Error(ErrorKind::Usage, "U-IDLE",
                concat(flag, " would change nothing: ", why, "; leave it out"));
  }
}

const CLI::Validator kNotNan(
    [](const std::string& text) {
      const bool good = !std::isnan(std::strtod(text.c_str(), nullptr));
      return good ? std::string() : concat("expected a number, found ", text);
    },
    std::string());

double parse_share(const std::string& text, const std::string& flag) {
  const bool percent = text.ends_with('%');
  const char* const end = text.data() + text.size() - (percent ? 1 : 0);
  double value = 0;
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  const double share = percent ? value / 100 : value;
  if (error != std::errc() || stopped != end || !(share >= 0 && share < 1)) {
    throw Error(ErrorKind::Usage, "U-SHARE",
                concat(flag, ": expected a share such as 20% or 0.2, found \"", text, "\""));
  }
  return share;
}

}  // namespace edgecompress::cli
