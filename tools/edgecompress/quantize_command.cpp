#include "edgecompress/quantize_command.h"

#include "base/error.h"
#include "edgecompress/recipe_parts.h"
#include "methods/method_names.h"
#include "recipe/fields.h"

namespace edgecompress::cli {
namespace {

std::optional<QuantScheme> table_scheme(const std::string& bits) {
  if (bits == "none") return std::nullopt;
  // 4-bit rows need groups: one scale for a whole row of an embedding is too coarse
  return bits == "4" ? QuantScheme{.bits = 4, .group_size = 32} : QuantScheme{.bits = 8};
}

[[noreturn]] void refuse_clip(const QuantizeOptions& options, const std::string& reason) {
  throw Error(
      ErrorKind::Usage, "U-CLIP",
      concat("--clip ", options.clip, " does not go with --method ", options.method, ": ", reason));
}

GptqOptions gptq_options(const QuantizeOptions& options) {
  if (options.clip == "output-error") {
    refuse_clip(options, "only awq searches by it; use importance");
  }
  return {.clip = options.clip == "none"           ? GptqClip::None
                  : options.clip == "weight-error" ? GptqClip::WeightError
                                                   : GptqClip::Importance,
          .act_order = !options.no_act_order,
          .damping = options.damping,
          .refine_rounds = options.refine_rounds,
          .on_singular = options.on_singular == "fail" ? OnSingular::Fail : OnSingular::Fallback};
}

AwqOptions awq_options(const QuantizeOptions& options) {
  AwqOptions awq;
  if (options.rounding == "gptq") {
    if (!options.clip.empty())
      refuse_clip(options, "with --rounding gptq, GPTQ chooses the ranges");
    awq.rounding = AwqRounding::Gptq;
  } else if (options.clip == "none") {
    awq.clip = AwqClip::None;
  } else if (!options.clip.empty() && options.clip != "output-error") {
    refuse_clip(options, "it searches by output-error, or not at all with none");
  }
  return awq;
}

RtnOptions rtn_options(const QuantizeOptions& options) {
  if (options.clip == "importance" || options.clip == "output-error") {
    refuse_clip(options,
                "it weighs by the inputs, which rtn does not look at; use weight-error, or "
                "--method gptq or awq");
  }
  return {.clip = options.clip == "weight-error" ? ClipSearch::WeightError : ClipSearch::None};
}

SmoothQuantOptions smoothquant_options(const QuantizeOptions& options) {
  if (options.activations == "none") {
    throw Error(ErrorKind::Usage, "U-SMOOTH",
                "--method smoothquant moves the outliers of inputs that are rounded, but "
                "--activations is none; give --activations int8-per-token, or use awq");
  }
  if (!options.clip.empty()) refuse_clip(options, "it does not choose the ranges");
  return {.rounding = options.rounding == "gptq" ? SmoothRounding::Gptq : SmoothRounding::Nearest};
}

QuantizeMethod parse_method(const QuantizeOptions& options) {
  if (options.method == "gptq") return gptq_options(options);
  if (options.method == "awq") return awq_options(options);
  if (options.method == "rtn") return rtn_options(options);
  if (options.method == "smoothquant") return smoothquant_options(options);
  if (!options.clip.empty()) refuse_clip(options, "it finds each group's range itself");
  return HqqOptions{.iterations = options.hqq_iterations};
}

std::optional<SizeTarget> size_target(const QuantizeOptions& options) {
  if (options.target_bpw > 0) return BitsPerWeight{options.target_bpw};
  if (options.target_size.empty()) return std::nullopt;
  const std::optional<double> bytes = parse_size(options.target_size);
  if (!bytes) {
    throw Error(ErrorKind::Usage, "U-TARGET",
                concat("--target-size: expected a size such as 12MB or 4GiB, found \"",
                       options.target_size, "\""));
  }
  return TotalBytes{static_cast<std::int64_t>(*bytes)};
}

HeadRounding head_rounding(const QuantizeOptions& options) {
  if (options.head_rounding == "nearest") return HeadRounding::Nearest;
  const bool knows_inputs = calibration_need(parse_method(options)) >= CalibrationNeed::Hessian;
  if (!knows_inputs || options.head_bits == "none") {
    throw Error(
        ErrorKind::Usage, "U-HEAD",
        concat("--head-rounding gptq does not go with ",
               knows_inputs
                   ? "--head-bits none: a floating head is not rounded"
                   : concat("--method ", options.method,
                            ": it needs the inputs that gptq, awq and smoothquant gather")));
  }
  return HeadRounding::Gptq;
}

PrecisionRule precision_rule(const QuantizeOptions& options) {
  if (options.precision == "uniform") return PrecisionRule::Uniform;
  if (options.head_bits == "4") {
    throw Error(ErrorKind::Usage, "U-PRECISION",
                "--precision outer-8bit keeps the head at 8 bits; leave out --head-bits 4");
  }
  return PrecisionRule::OuterDown;
}

/// The flags that choose grids by measured error.
void add_target_flags(CLI::App& command, QuantizeOptions& options) {
  CLI::Option* const size = command.add_option(
      "--target-size", options.target_size,
      "choose each layer's grid by its measured error, so that the exported artifact takes at most "
      "so much: 12MB, 4GiB; needs --calibration");
  CLI::Option* const bits =
      command
          .add_option("--target-bpw", options.target_bpw,
                      "the same, for at most so many bits a weight of the linear layers, scales "
                      "counted: 4.5")
          ->check(CLI::PositiveNumber)
          ->check(kNotNan);
  command
      .add_option("--sensitivity", options.sensitivity,
                  "what the error is that they are chosen by: of the hidden-states behind a block, "
                  "or the kl of the predictions, which passes some text through the model for "
                  "every group of layers")
      ->check(CLI::IsMember({"hidden-states", "kl"}))
      ->capture_default_str();
  size->excludes(bits);
  for (CLI::Option* const target : {size, bits}) {
    for (const char* const chosen : {"--bits", "--group-size", "--precision"}) {
      target->excludes(command.get_option(chosen));
    }
  }
}

/// Flags of other methods than the one that is chosen.
void refuse_other_methods(const CLI::App& command, const QuantizeOptions& options) {
  const auto only_with = [&](const char* method, std::initializer_list<const char*> flags) {
    if (options.method == method) return;
    refuse_idle_flags(
        command, flags,
        concat("only --method ", method, " reads it, and the method is ", options.method));
  };
  only_with("gptq", {"--no-act-order", "--damping", "--refine-rounds", "--on-singular"});
  only_with("hqq", {"--hqq-iterations"});
  if (options.method != "smoothquant") only_with("awq", {"--rounding"});
  if (options.target_size.empty() && options.target_bpw == 0) {
    refuse_idle_flags(command, {"--sensitivity"},
                      "no grid is chosen without --target-size or --target-bpw");
  }
  if (options.qat == "never") {
    refuse_idle_flags(command, {"--training", "--qat-phases", "--qat-activations"},
                      "--qat is never, so nothing is trained");
  }
}

RecoverStep qat_step(const QuantizeOptions& options) {
  RecoverStep step;
  step.text = {
      .text = options.training_text.empty() ? options.calibration.text : options.training_text,
      .sequence_length = options.calibration.sequence_length};
  if (step.text.text.empty()) {
    throw Error(ErrorKind::Usage, "U-TRAINING",
                concat("--qat ", options.qat,
                       " trains on a text; name one with --training or --calibration"));
  }
  step.choice.options.zeros = ZeroWeights::Free;
  if (options.qat == "auto") step.gate = kDefaultRecoveryGate;
  step.choice.options.phases = training_phases_of_name(options.qat_phases).value();
  step.choice.options.activations = activation_of_name(options.qat_activations);
  return step;
}

}  // namespace

CLI::App* add_quantize(CLI::App& app, QuantizeOptions& options) {
  CLI::App* const command =
      app.add_subcommand("quantize", "put the weights on an INT8 or INT4 grid");
  add_output_flags(*command, options.output);
  add_dry_run_flag(*command, options.output);
  command
      ->add_option(
          "--method", options.method,
          "rtn: round to nearest, needs no text; hqq: fit the grids first, needs no text; "
          "gptq: compensate each rounding error, needs --calibration; awq: scale the inputs that "
          "matter up first, needs --calibration; smoothquant: move the outliers of rounded inputs "
          "into the weights first, needs --calibration and --activations int8-per-token")
      ->check(CLI::IsMember({"rtn", "hqq", "gptq", "awq", "smoothquant"}))
      ->capture_default_str();
  command->add_option("--bits", options.bits, "bits of the linear layers' weights: 4 or 8")
      ->check(CLI::IsMember({4, 8}))
      ->capture_default_str();
  command
      ->add_option("--group-size", options.group_size,
                   "inputs that share a scale: 32, 64, 128, 256, or channel for a whole row")
      ->check(CLI::IsMember({"32", "64", "128", "256", "channel"}))
      ->capture_default_str();
  command->add_flag("--asymmetric", options.asymmetric,
                    "give every group a zero point: smaller error, slower on ARM");
  command
      ->add_option(
          "--clip", options.clip,
          "range of a group: none (minimum to maximum), weight-error (the smallest error of "
          "the weights), importance (weighted by the inputs, gptq only), output-error (the "
          "smallest error of the group's outputs, awq only)")
      ->check(CLI::IsMember({"none", "weight-error", "importance", "output-error"}))
      ->default_str("none with rtn, importance with gptq, output-error with awq");
  command->add_flag("--no-act-order", options.no_act_order,
                    "gptq: columns as they stand, not by falling input");
  command
      ->add_option("--damping", options.damping,
                   "gptq: share of the Hessian's mean diagonal added to it")
      ->check(CLI::Range(0.0, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command
      ->add_option("--refine-rounds", options.refine_rounds,
                   "gptq: rounds of coordinate descent on scales and codes afterwards")
      ->check(CLI::Range(0, 32))
      ->capture_default_str();
  command
      ->add_option("--on-singular", options.on_singular,
                   "gptq: what to do with a Hessian that cannot be inverted: fallback (round to "
                   "nearest, and report it) or fail")
      ->check(CLI::IsMember({"fallback", "fail"}))
      ->capture_default_str();
  command
      ->add_option("--hqq-iterations", options.hqq_iterations,
                   "hqq: how often the grid is fitted to the weights")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command
      ->add_option("--rounding", options.rounding,
                   "awq, smoothquant: how the scaled weights are rounded: nearest or gptq")
      ->check(CLI::IsMember({"nearest", "gptq"}))
      ->capture_default_str();
  command->add_option("--embedding-bits", options.embedding_bits, "8, 4 or none")
      ->check(CLI::IsMember({"8", "4", "none"}))
      ->capture_default_str();
  command
      ->add_option("--head-bits", options.head_bits,
                   "8, 4 or none; a tied head follows the embedding")
      ->check(CLI::IsMember({"8", "4", "none"}))
      ->capture_default_str();
  command
      ->add_option("--head-rounding", options.head_rounding,
                   "how a head that is not tied is rounded: nearest, or gptq on the final hidden "
                   "states; with gptq, awq and smoothquant")
      ->check(CLI::IsMember({"nearest", "gptq"}))
      ->capture_default_str();
  command
      ->add_option("--precision", options.precision,
                   "outer-8bit: 8 bits for the head and for down_proj of the first and last eighth "
                   "of the blocks; needs no text")
      ->check(CLI::IsMember({"uniform", "outer-8bit"}))
      ->capture_default_str();
  add_target_flags(*command, options);
  command->add_option(
      "--keep", options.keep,
      "layers that stay floating, for example '*.down_proj'; may be given several times");
  command
      ->add_option("--activations", options.activations,
                   "how the quantized layers of the decoder blocks round what they read: none, or "
                   "int8-per-token (W8A8 and W4A8; the folder says so, and eval and export follow)")
      ->check(CLI::IsMember({"none", "int8-per-token"}))
      ->capture_default_str();
  command
      ->add_option(
          "--qat", options.qat,
          "train afterwards, as `recover` does: auto (only when the perplexity rose by more "
          "than 1 %), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command
      ->add_option("--qat-phases", options.qat_phases,
                   "what --qat trains: end-to-end, blocks (each on the dense block's outputs) or "
                   "both")
      ->check(CLI::IsMember(kTrainingPhaseNames))
      ->capture_default_str();
  command
      ->add_option("--qat-activations", options.qat_activations,
                   "how --qat rounds what quantized layers read: auto (as --activations says), "
                   "none, int8-per-token, int8-per-tensor or int8-per-block (as MatMulNBits at "
                   "accuracy level 4)")
      ->check(CLI::IsMember(kActivationChoiceNames))
      ->capture_default_str();
  command->add_option("--training", options.training_text, "UTF-8 text that --qat trains on")
      ->default_str("the calibration text");
  add_calibration_flags(*command, options.calibration);
  add_score_flags(*command, options.score_text);
  add_gate_flags(*command, options.gates, GateScope::Folder);
  add_compute_flags(*command, options.compute);
  add_memory_flag(*command, options.compute);
  command->footer(
      "Examples:\n"
      "  edgecompress quantize --model llama -o llama-gptq --method gptq --calibration calib.txt "
      "--asymmetric\n"
      "  edgecompress quantize --model llama -o llama-mixed --method gptq --calibration "
      "calib.jsonl "
      "--asymmetric --target-size 12MB\n"
      "  edgecompress quantize --model llama -o llama-int4 --bits 4 --group-size 64 --clip "
      "weight-error\n"
      "  edgecompress quantize --model llama -o llama-int8 --bits 8 --group-size channel --text "
      "val.txt");
  command->callback([command, &options] { refuse_other_methods(*command, options); });
  return command;
}

Recipe quantize_recipe(const QuantizeOptions& options) {
  Recipe recipe = recipe_with_texts(options.calibration, options.score_text);
  QuantizeStep step;
  step.method = parse_method(options);
  step.weights = {
      .bits = options.bits,
      .group_size = options.group_size == "channel" ? 0 : std::stoll(options.group_size),
      .symmetry = options.asymmetric ? Symmetry::Asymmetric : Symmetry::Symmetric};
  step.embedding = table_scheme(options.embedding_bits);
  step.head = table_scheme(options.head_bits);
  step.head_rounding = head_rounding(options);
  step.precision = precision_rule(options);
  step.size_target = size_target(options);
  if (options.sensitivity == "kl") step.sensitivity = GridSensitivity::Divergence;
  step.activations = activation_of_name(options.activations).value_or(ActivationRounding::None);
  if (!options.keep.empty()) {
    step.rules.push_back(
        {.targets = {.match = options.keep, .except = {}}, .scheme = {}, .optional = false});
  }
  recipe.steps.push_back({.id = "quantize", .action = step});
  if (options.qat != "never") recipe.steps.push_back({.id = "qat", .action = qat_step(options)});
  add_gates(options.gates, recipe);
  return recipe;
}

}  // namespace edgecompress::cli
