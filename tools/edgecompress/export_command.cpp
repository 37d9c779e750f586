#include "edgecompress/export_command.h"

namespace edgecompress::cli {

CLI::App* add_export(CLI::App& app, ExportCommandOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "export", "write a model folder as ONNX, run it in ONNX Runtime and compare");
  add_output_flags(*command, options.output);
  command
      ->add_option("--format", options.format,
                   "genai: what onnxruntime-genai loads; onnx: standard operators only")
      ->check(CLI::IsMember({"genai", "onnx"}))
      ->capture_default_str();
  command
      ->add_option("--accuracy-level", options.accuracy_level,
                   "of MatMulNBits: 4 rounds activations to int8, 0 computes in float (slower)")
      ->check(CLI::IsMember({0, 1, 2, 3, 4}))
      ->capture_default_str();
  command->add_option("--context-length", options.context_length, "tokens the artifact can hold")
      ->check(CLI::PositiveNumber)
      ->default_str("the model's");
  command->add_flag("--skip-check", options.skip_check,
                    "do not run the artifact before it is published");
  command->add_option("--onnxruntime", options.onnxruntime, "ONNX Runtime library to run it with");
  add_compute_flags(*command, options.compute);
  command->footer(
      "Examples:\n"
      "  edgecompress export --model llama-int4 -o llama-genai\n"
      "  edgecompress export --model llama-int8 -o llama-onnx --format onnx --context-length 2048");
  return command;
}

ExportOptions export_options(const ExportCommandOptions& options, int num_threads) {
  ExportOptions exporting;
  if (options.format == "genai") {
    exporting.format = GenaiFormat{.accuracy_level = options.accuracy_level};
  } else {
    exporting.format = StandardFormat{};
  }
  exporting.context_length = options.context_length;
  exporting.num_threads = num_threads;
  return exporting;
}

}  // namespace edgecompress::cli
