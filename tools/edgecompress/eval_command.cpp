#include "edgecompress/eval_command.h"

namespace edgecompress::cli {

CLI::App* add_eval(CLI::App& app, EvalOptions& options) {
  CLI::App* const command =
      app.add_subcommand("eval", "measure the perplexity of a model folder or of an artifact");
  CLI::Option* const model = command->add_option("--model", options.model, "Llama folder");
  CLI::Option* const artifact =
      command->add_option("--artifact", options.artifact, "ONNX folder, run in ONNX Runtime");
  model->excludes(artifact);
  command->add_option("--text", options.text, "UTF-8 text")->required();
  command
      ->add_option(
          "--protocol", options.protocol,
          "gptq-2048: whole text in one encoding, non-overlapping windows, tail dropped, mean "
          "over all targets")
      ->check(CLI::IsMember({"gptq-2048"}))
      ->capture_default_str();
  command->add_option("--window", options.window, "tokens of a window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--windows", options.windows, "at most so many windows")
      ->check(CLI::PositiveNumber)
      ->default_str("all");
  command
      ->add_option("--window-order", options.window_order,
                   "which ones: spread evenly over the text, or the first")
      ->check(CLI::IsMember({"spread", "first"}))
      ->capture_default_str();
  command
      ->add_option(
          "--activations", options.activations,
          "how the quantized layers round what they read: auto (as the folder says), none, "
          "int8-per-token, int8-per-tensor (as an artifact of int8-style dynamic), "
          "int8-per-block (as MatMulNBits at accuracy level 4)")
      ->check(CLI::IsMember(kActivationChoiceNames))
      ->capture_default_str()
      ->excludes(artifact);
  command->add_option("--against", options.against,
                      "Llama folder to compare with: KL divergence and top-1 agreement");
  command->add_option("--onnxruntime", options.onnxruntime, "ONNX Runtime library for --artifact");
  command->add_flag("--json", options.json, "print the result as JSON on stdout");
  add_gate_flags(*command, options.gates, GateScope::Scores);
  add_compute_flags(*command, options.compute);
  command->footer(
      "Examples:\n"
      "  edgecompress eval --model llama --text wiki.test.raw\n"
      "  edgecompress eval --model llama-int8 --text wiki.test.raw --activations int8-per-token\n"
      "  edgecompress eval --artifact out --text val.txt --window 512 --windows 128 --against "
      "llama --json");
  return command;
}

}  // namespace edgecompress::cli
