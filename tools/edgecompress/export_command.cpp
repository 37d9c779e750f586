#include "edgecompress/export_command.h"

#include "base/error.h"

namespace edgecompress::cli {
namespace {

bool is_sparse(const ExportCommandOptions& options) { return options.format.ends_with("-sparse"); }

void refuse_sparse_flags_of_dense(const ExportCommandOptions& options) {
  if (is_sparse(options)) {
    if (!options.sparse_from.empty()) parse_share(options.sparse_from, "--sparse-from");
    return;
  }
  const bool has_scale_bits = options.scale_bits != ExportCommandOptions{}.scale_bits;
  if (options.sparse_from.empty() && !has_scale_bits) return;
  throw Error(ErrorKind::Usage, "U-SPARSE",
              concat(has_scale_bits ? "--scale-bits" : "--sparse-from",
                     " is for sparse formats, but the format is ", options.format,
                     "; give --format ", options.format, "-sparse, or leave the flag out"));
}

void refuse_accuracy_of_standard(const CLI::App& command, const ExportCommandOptions& options) {
  if (options.format.starts_with("genai")) return;
  refuse_idle_flags(
      command, {"--accuracy-level"},
      concat("it is of MatMulNBits, which only genai formats have, and the format is ",
             options.format));
}

}  // namespace

CLI::App* add_export(CLI::App& app, ExportCommandOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "export", "write a model folder as ONNX, run it in ONNX Runtime and compare");
  add_output_flags(*command, options.output);
  add_dry_run_flag(*command, options.output);
  command
      ->add_option("--format", options.format,
                   "genai: what onnxruntime-genai loads; onnx: standard operators only; "
                   "genai-sparse, onnx-sparse: the same with matrices that are empty enough as "
                   "PanelSparseMatMul")
      ->check(CLI::IsMember({"genai", "onnx", "genai-sparse", "onnx-sparse"}))
      ->capture_default_str();
  command
      ->add_option("--accuracy-level", options.accuracy_level,
                   "of MatMulNBits: 4 rounds activations to int8, 0 computes in float (slower)")
      ->check(CLI::IsMember({0, 1, 2, 3, 4}))
      ->capture_default_str();
  command
      ->add_option("--sparse-from", options.sparse_from,
                   "sparse formats: share of its weights a matrix must leave out to be stored "
                   "sparse")
      ->default_str("measured, by form");
  command
      ->add_option("--scale-bits", options.scale_bits,
                   "sparse formats: 32 keeps every scale, 16 rounds it and halves its bytes")
      ->check(CLI::IsMember({16, 32}))
      ->capture_default_str();
  command
      ->add_option("--int8-style", options.int8_style,
                   "products of 8-bit weights with one scale a row: weight-only; dynamic: "
                   "DynamicQuantizeLinear and MatMulInteger, one range for all tokens of a call; "
                   "dynamic-per-token: MatMulInteger, a range for each token; auto: "
                   "dynamic-per-token when the folder rounds activations, else weight-only")
      ->check(
          CLI::IsMember(std::vector<std::string>(kInt8StyleNames.begin(), kInt8StyleNames.end())))
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
      "  edgecompress export --model llama-int8 -o llama-onnx --format onnx --context-length 2048\n"
      "  edgecompress export --model llama-int8 -o llama-w8a8 --format onnx --int8-style "
      "dynamic-per-token\n"
      "  edgecompress export --model llama-masked-int4 -o llama-sparse --format genai-sparse");
  command->callback([command, &options] {
    refuse_sparse_flags_of_dense(options);
    refuse_accuracy_of_standard(*command, options);
  });
  return command;
}

ExportOptions export_options(const ExportCommandOptions& options, int num_threads) {
  ExportOptions exporting;
  if (options.format.starts_with("genai")) {
    exporting.format = GenaiFormat{.accuracy_level = options.accuracy_level};
  } else {
    exporting.format = StandardFormat{};
  }
  if (is_sparse(options)) {
    exporting.sparse = SparseOptions{.scale_type = options.scale_bits == 16 ? ScaleType::Float16
                                                                            : ScaleType::Float32};
    if (!options.sparse_from.empty()) {
      exporting.sparse->threshold = parse_share(options.sparse_from, "--sparse-from");
    }
  }
  exporting.activations = rounding_of_int8_style(options.int8_style);
  exporting.context_length = options.context_length;
  exporting.num_threads = num_threads;
  return exporting;
}

}  // namespace edgecompress::cli
