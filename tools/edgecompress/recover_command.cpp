#include "edgecompress/recover_command.h"

#include "base/error.h"
#include "methods/method_names.h"

namespace edgecompress::cli {
namespace {

void add_training_flags(CLI::App& command, RecoverOptions& options) {
  TrainingOptions& training = options.training;
  command
      .add_option("--phases", options.phases,
                  "end-to-end: the whole model; blocks: each decoder block on the outputs of the "
                  "teacher's; both: the blocks first")
      ->check(CLI::IsMember(kTrainingPhaseNames))
      ->capture_default_str();
  command
      .add_option("--block-epochs", training.blocks.epochs, "passes of each block over the text")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      .add_option("--block-learning-rate", training.blocks.learning_rate,
                  "of weights of floating layers, while blocks are trained")
      ->check(CLI::Range(1e-9, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command
      .add_option("--block-code-learning-rate", training.blocks.code_learning_rate,
                  "of weights behind codes, in steps of their grid, while blocks are trained")
      ->check(CLI::Range(1e-9, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command
      .add_option("--block-batch", training.blocks.batch,
                  "windows of a step, while blocks are trained")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command
      .add_option("--block-scale-learning-rate", training.blocks.scale_learning_rate,
                  "of scales, zero points and norms, while blocks are trained")
      ->check(CLI::Range(1e-9, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command
      .add_option("--train", options.part,
                  "auto: the scales of a quantized model, else the weights; scales: codes stay; "
                  "weights: those of quantized layers through their codes")
      ->check(CLI::IsMember({"auto", "scales", "weights"}))
      ->capture_default_str();
  command
      .add_option("--loss", options.loss,
                  "kl: the divergence from --teacher; cross-entropy: of the text; auto: kl with "
                  "--teacher")
      ->check(CLI::IsMember({"auto", "kl", "cross-entropy"}))
      ->capture_default_str();
  command
      .add_option("--zeros", options.zeros,
                  "keep: a weight that is 0 stays 0, as a mask wants; free: it may change")
      ->check(CLI::IsMember({"keep", "free"}))
      ->capture_default_str();
  command.add_option("--epochs", training.epochs, "passes over the training text")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command.add_option("--batch", training.batch, "windows of a step")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command
      .add_option("--learning-rate", training.learning_rate,
                  "of weights of floating layers, at the start of the cosine schedule")
      ->check(CLI::Range(1e-9, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command
      .add_option("--code-learning-rate", training.code_learning_rate,
                  "of weights behind codes, in steps of their grid")
      ->check(CLI::Range(1e-9, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command
      .add_option("--scale-learning-rate", training.scale_learning_rate,
                  "of scales and norms, as a share of their size")
      ->check(CLI::Range(1e-9, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command
      .add_option("--max-gradient-norm", training.max_gradient_norm,
                  "longer gradients are shortened to this length")
      ->check(CLI::PositiveNumber)
      ->check(kNotNan)
      ->capture_default_str();
  command
      .add_option("--held-out", options.held_out,
                  "share of the windows that only judge: the state with their lowest loss is kept, "
                  "at most 64 windows")
      ->capture_default_str();
  command
      .add_option("--activations", options.activations,
                  "how quantized layers round what they read while training: auto (as the folder "
                  "says), none, int8-per-token, int8-per-tensor (as an artifact of --int8-style "
                  "dynamic) or int8-per-block (as MatMulNBits at accuracy level 4)")
      ->check(CLI::IsMember(kActivationChoiceNames))
      ->capture_default_str();
  command.add_option("--seed", training.seed, "of the order of the windows")->capture_default_str();
}

/// Flags of a phase that is not asked for.
void refuse_unused_flags(const CLI::App& command, const RecoverOptions& options) {
  const TrainingPhases phases = training_phases_of_name(options.phases).value();
  const std::string given = concat("--phases is ", options.phases);
  if (!trains_blocks(phases)) {
    refuse_idle_flags(command,
                      {"--block-epochs", "--block-batch", "--block-learning-rate",
                       "--block-code-learning-rate", "--block-scale-learning-rate"},
                      concat(given, ", so no block is trained by itself"));
  }
  if (!trains_whole(phases)) {
    refuse_idle_flags(command,
                      {"--train", "--loss", "--epochs", "--batch", "--learning-rate",
                       "--code-learning-rate", "--scale-learning-rate"},
                      concat(given, ", so the model is not trained as a whole"));
  }
}

}  // namespace

CLI::App* add_recover(CLI::App& app, RecoverOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "recover", "train a pruned, masked or quantized model briefly; masks and grids stay");
  add_output_flags(*command, options.output);
  command->add_option("--training", options.training_text, "UTF-8 text to train on")->required();
  command->add_option("--samples", options.samples, "at most so many windows, spread evenly")
      ->check(CLI::PositiveNumber)
      ->default_str("all");
  command->add_option("--sequence-length", options.sequence_length, "tokens of a training window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--teacher", options.teacher,
                      "Llama folder that the model was made of: its predictions are learned");
  add_training_flags(*command, options);
  add_score_flags(*command, options.score_text);
  add_compute_flags(*command, options.compute);
  command->footer(
      "Examples:\n"
      "  edgecompress recover --model llama-int4 -o llama-int4-qat --training train.txt --teacher "
      "llama\n"
      "  edgecompress recover --model llama-24 -o llama-24-ft --training train.txt --learning-rate "
      "1e-4 --text val.txt");
  command->callback([command, &options] { refuse_unused_flags(*command, options); });
  return command;
}

TrainingChoice training_choice(const RecoverOptions& options) {
  TrainingChoice choice{.part = {}, .loss = {}, .options = options.training};
  if (options.part != "auto") {
    choice.part = options.part == "scales" ? TrainedPart::Scales : TrainedPart::Weights;
  }
  if (options.loss != "auto") {
    choice.loss = options.loss == "kl" ? TrainingLoss::Divergence : TrainingLoss::CrossEntropy;
  }
  choice.options.phases = training_phases_of_name(options.phases).value();
  choice.options.zeros = options.zeros == "keep" ? ZeroWeights::Keep : ZeroWeights::Free;
  choice.options.activations = activation_of_name(options.activations);
  choice.options.held_out_share = parse_share(options.held_out, "--held-out");
  return choice;
}

}  // namespace edgecompress::cli
