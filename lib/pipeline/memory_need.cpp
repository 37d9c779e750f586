#include "pipeline/memory_need.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/memory_budget.h"
#include "llama/linear_layers.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kFloat = 4;
constexpr std::uint64_t kDouble = 8;
// Of a weight that is rounded some rows at a time: its code in a byte, its share of scales and zero
// points in groups of 16 and more.
constexpr std::uint64_t kRoundedBytes = 2;
// Measured on mini-llama, which needs some MiB itself: 138 MiB when it is rounded; the rest is for
// workspaces of MKL and the allocator.
constexpr std::uint64_t kProgram = std::uint64_t{256} << 20;
// A Hessian, its damped copy, the factor of its inverse, and one matrix of work.
constexpr std::uint64_t kHessianCopies = 4;
// Of a row of logits: the model's and the dense one's, their log-probabilities and the divergence.
constexpr std::uint64_t kLogitCopies = 6;
// Inside a calibrated block: the windows and what o_proj reads; where the windows are kept, the
// states behind the attention too.
constexpr std::uint64_t kAdvancedSets = 2;
constexpr std::uint64_t kKeptSets = 3;
// What down_proj reads is kept only where a set's share of the memory holds it, never in a file.
constexpr std::uint64_t kMemorySets = 1;
// Beside the dense model: how both models' inputs and residual streams go together.
constexpr std::uint64_t kCrossMoments = 2;
// Of a trained number: itself, its gradient, two moments, the best state, one value of a step.
constexpr std::uint64_t kTrainedCopies = 6;
// Of a block's weight while its graph is there: what is computed with and how it was made.
constexpr std::uint64_t kGraphCopies = 6;
// Inside a block's graph, of a token: multiples of the hidden size and of the widest input.
constexpr std::uint64_t kGraphStates = 26;
constexpr std::uint64_t kGraphActivations = 6;
// Beside it when inputs are rounded: each layer's graph keeps what it reads as a copy of its own,
// and three more are there while one is made (rounding_bytes).
constexpr std::uint64_t kRoundedStates = 6;
constexpr std::uint64_t kRoundedActivations = 4;
// Beside it when every layer's outputs are asked for their gradients: what is added, the sum and
// the gradient of each.
constexpr std::uint64_t kProbedStates = 15;
constexpr std::uint64_t kProbedActivations = 6;
// While blocks are trained: the dense model's states and the trained one's; end to end: the
// embeddings and the teacher's final states.
constexpr std::uint64_t kTrainingSets = 2;
constexpr std::uintmax_t kBytesOfUnknownText = std::uintmax_t{1} << 20;
constexpr std::int64_t kBytesOfToken = 2;

std::uint64_t largest_block(const LlamaConfig& config) {
  std::int64_t largest = 0;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    largest = std::max(largest, linear_parameters(config, block));
  }
  return static_cast<std::uint64_t>(largest);
}

std::uint64_t widest_input(const LlamaConfig& config) {
  std::int64_t widest = config.hidden_size;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) {
      widest = std::max(widest, linear_shape(config, {block, kind}).in_features);
    }
  }
  return static_cast<std::uint64_t>(widest);
}

std::uint64_t state_bytes(const std::optional<WindowSizes>& windows, const LlamaConfig& config) {
  if (!windows) return 0;
  return static_cast<std::uint64_t>(windows->count * windows->length * config.hidden_size) * kFloat;
}

std::uint64_t forward_bytes(const LlamaConfig& config, const WindowSizes& windows) {
  const std::int64_t tokens = windows_at_once(windows.length) * windows.length;
  const auto width = 6 * static_cast<std::uint64_t>(config.hidden_size) + 2 * widest_input(config);
  return static_cast<std::uint64_t>(tokens) * width * kFloat;
}

bool rounds_inputs(const WalkPlan& plan) {
  return std::any_of(plan.forms.begin(), plan.forms.end(), [](const auto& form) {
    const auto* const quantized = std::get_if<QuantizedForm>(&form.second);
    return quantized != nullptr && quantized->activations != ActivationRounding::None;
  });
}

/// What a layer reads, in units of its scale, as codes and as real values again.
std::uint64_t rounding_bytes(const LlamaConfig& config, const TextSizes& texts) {
  constexpr std::uint64_t kCopies = 3;
  std::int64_t tokens = 0;
  for (const std::optional<WindowSizes>& windows : {texts.calibration, texts.evaluation}) {
    if (windows) tokens = std::max(tokens, windows_at_once(windows->length) * windows->length);
  }
  return kCopies * static_cast<std::uint64_t>(tokens) * widest_input(config) * kFloat;
}

/// Cuts and trainings of a block start from the states at its input.
std::uint64_t calibration_sets(const WalkPlan& plan) {
  return plan.cut_need != CalibrationNeed::None || plan.reconstructs_blocks ? kKeptSets
                                                                            : kAdvancedSets;
}

void add_texts(MemoryNeed& need, const WalkPlan& plan, const TextSizes& texts,
               std::uint64_t stages) {
  const LlamaConfig& config = plan.configs.front();
  if (texts.calibration) {
    need.state_sets += calibration_sets(plan) + kMemorySets;
    need.states += calibration_sets(plan) * state_bytes(texts.calibration, config);
    need.forward = forward_bytes(config, *texts.calibration);
  }
  if (!texts.evaluation) return;
  need.state_sets += stages;
  need.states += stages * state_bytes(texts.evaluation, config);
  const std::uint64_t logits =
      static_cast<std::uint64_t>(texts.evaluation->length * config.vocab_size) * kFloat;
  need.forward =
      std::max({need.forward, forward_bytes(config, *texts.evaluation), kLogitCopies * logits});
}

std::uint64_t all_blocks(const LlamaConfig& config) {
  std::int64_t weights = 0;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    weights += linear_parameters(config, block);
  }
  return static_cast<std::uint64_t>(weights);
}

bool quantizes(const WalkPlan& plan) {
  return std::any_of(plan.forms.begin(), plan.forms.end(), [](const auto& form) {
    return std::holds_alternative<QuantizedForm>(form.second);
  });
}

bool trains_all_weights(const WalkPlan& plan, const TrainingChoice& choice) {
  if (!trains_whole(choice.options.phases)) return false;
  const TrainedPart part =
      choice.part.value_or(quantizes(plan) ? TrainedPart::Scales : TrainedPart::Weights);
  return part == TrainedPart::Weights;
}

std::uint64_t graph_bytes(const LlamaConfig& config, const WindowSizes& windows) {
  const std::int64_t tokens = windows_at_once(windows.length) * windows.length;
  const std::uint64_t width = kGraphStates * static_cast<std::uint64_t>(config.hidden_size) +
                              kGraphActivations * widest_input(config);
  const auto logits = static_cast<std::uint64_t>(windows.length * config.vocab_size);
  return std::max(static_cast<std::uint64_t>(tokens) * width, kLogitCopies * logits) * kFloat;
}

/// Whether layers round what they read while they are trained.
bool rounds_in_training(const WalkPlan& plan, const TrainingChoice& choice) {
  const std::optional<ActivationRounding>& asked = choice.options.activations;
  return asked ? *asked != ActivationRounding::None && quantizes(plan) : rounds_inputs(plan);
}

/// Rounded inputs in the graph of a block.
std::uint64_t rounded_graph_bytes(const LlamaConfig& config, const WindowSizes& windows) {
  const std::int64_t tokens = windows_at_once(windows.length) * windows.length;
  const std::uint64_t width = kRoundedStates * static_cast<std::uint64_t>(config.hidden_size) +
                              kRoundedActivations * widest_input(config);
  return static_cast<std::uint64_t>(tokens) * width * kFloat;
}

std::int64_t windows_in_text(const std::filesystem::path& text, std::int64_t length) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(text, error);
  const auto bytes = static_cast<std::int64_t>(error ? kBytesOfUnknownText : size);
  return std::max<std::int64_t>(1, bytes / kBytesOfToken / length);
}

/// Such methods keep the dense weights with scaled columns beside those without.
bool scales_inputs(const WalkPlan& plan) {
  return std::any_of(plan.steps.begin(), plan.steps.end(), [](const Step& step) {
    const auto* const quantize = std::get_if<QuantizeStep>(&step.action);
    return quantize != nullptr && scales_inputs(quantize->method);
  });
}

/// The dense model's own sets of states, and what one group of its layers reads.
void add_dense(MemoryNeed& need, const LlamaConfig& config, const TextSizes& texts) {
  need.hessians += kCrossMoments * widest_input(config) * widest_input(config) * kDouble;
  const auto hidden = static_cast<std::uint64_t>(config.hidden_size);
  const std::uint64_t recorded = (widest_input(config) + hidden - 1) / hidden;
  need.state_sets += kKeptSets + recorded;
  need.states += (kKeptSets + recorded) * state_bytes(texts.calibration, config);
}

/// The states between all blocks, the gradient, and the activations that it needs.
void add_gradients(MemoryNeed& need, GradientDetail detail, const LlamaConfig& config,
                   const TextSizes& texts) {
  const auto sets = static_cast<std::uint64_t>(config.num_blocks()) + 2;
  need.state_sets += sets;
  need.states += sets * state_bytes(texts.calibration, config);
  if (!texts.calibration) return;
  const std::int64_t length = texts.calibration->length;
  const std::uint64_t probed =
      detail == GradientDetail::Parts
          ? 0
          : kProbedStates * static_cast<std::uint64_t>(config.hidden_size) +
                kProbedActivations * widest_input(config);
  need.forward =
      std::max(need.forward,
               graph_bytes(config, *texts.calibration) +
                   static_cast<std::uint64_t>(windows_at_once(length) * length) * probed * kFloat);
}

/// Some windows' states with each group of each block rounded.
void add_divergence(MemoryNeed& need, const LlamaConfig& config, const TextSizes& texts) {
  if (!texts.calibration) return;
  const std::int64_t length = texts.calibration->length;
  const std::int64_t tokens = divergence_windows(texts.calibration->count, length) * length;
  const std::int64_t groups = config.num_blocks() * static_cast<std::int64_t>(kInputGroups.size());
  need.blocks += static_cast<std::uint64_t>(groups * tokens * config.hidden_size) * kFloat;
}

/// Logits of whole windows: without a block the text goes through the head.
void add_logits(MemoryNeed& need, const LlamaConfig& config, const TextSizes& texts) {
  if (!texts.calibration) return;
  const auto logits =
      static_cast<std::uint64_t>(texts.calibration->length * config.vocab_size) * kFloat;
  need.forward = std::max(need.forward, kLogitCopies * logits);
}

/// The dense model's states before the block and behind it, and what training a block keeps.
void add_reconstruction(MemoryNeed& need, const LlamaConfig& config, const TextSizes& texts) {
  constexpr std::uint64_t kDenseSets = 2;
  need.state_sets += kDenseSets;
  need.states += kDenseSets * state_bytes(texts.calibration, config);
  need.blocks += (kTrainedCopies + kGraphCopies) * largest_block(config) * kFloat;
  if (texts.calibration) {
    need.forward = std::max(need.forward, graph_bytes(config, *texts.calibration));
  }
}

}  // namespace

TextSizes text_sizes(const WalkTexts& texts) {
  const auto sizes = [](const std::optional<TokenWindows>& windows) {
    return windows ? std::optional(WindowSizes{windows->count, windows->length}) : std::nullopt;
  };
  return {.calibration = sizes(texts.calibration), .evaluation = sizes(texts.evaluation)};
}

TextSizes expected_text_sizes(const WalkPlan& plan, const Recipe& recipe) {
  TextSizes sizes;
  if (plan.needs_text() && recipe.calibration) {
    sizes.calibration = {recipe.calibration->samples, recipe.calibration->sequence_length};
  }
  if (!recipe.evaluation) return sizes;
  const std::int64_t length = recipe.evaluation->window;
  const std::int64_t in_text = windows_in_text(recipe.evaluation->text, length);
  sizes.evaluation = {std::min(recipe.evaluation->max_windows.value_or(in_text), in_text), length};
  return sizes;
}

MemoryNeed memory_need(const WalkPlan& plan, const TextSizes& texts) {
  const LlamaConfig& config = plan.configs.front();
  const std::uint64_t stages = plan.steps.size() + 1;
  const bool runs_texts = texts.calibration || texts.evaluation;
  MemoryNeed need{.program = kProgram};
  need.blocks = (stages + (scales_inputs(plan) ? 2 : 1)) * largest_block(config) * kFloat;
  if (plan.rounds_only() && !runs_texts) need.blocks = kRoundedBytes * largest_block(config);
  const auto table = static_cast<std::uint64_t>(config.vocab_size * config.hidden_size);
  need.tables = (runs_texts ? 9 : 4) * table;  // two tables as floats and one as codes, or one
  if (plan.needs_hessians() || plan.measures_grids()) {
    need.hessians = kHessianCopies * widest_input(config) * widest_input(config) * kDouble;
  }
  add_texts(need, plan, texts, stages);
  if (rounds_inputs(plan)) need.forward += rounding_bytes(config, texts);
  if (plan.cuts_for_dense_outputs || plan.masks_for_dense_outputs) add_dense(need, config, texts);
  const bool compares = plan.measures_divergence();
  if (compares) add_divergence(need, config, texts);
  if (compares || plan.removed_by_perplexity > 0) add_logits(need, config, texts);
  if (plan.gradients) add_gradients(need, *plan.gradients, config, texts);
  if (plan.reconstructs_blocks) add_reconstruction(need, config, texts);
  return need;
}

WindowSizes expected_training_size(const RecoverStep& step) {
  const std::int64_t in_text = windows_in_text(step.text.text, step.text.sequence_length);
  return {std::min(step.text.samples.value_or(in_text), in_text), step.text.sequence_length};
}

void add_training_need(MemoryNeed& need, const WalkPlan& plan, const RecoverStep& step,
                       WindowSizes windows) {
  const LlamaConfig& config = plan.output_config();
  const std::uint64_t block = largest_block(config);
  const std::uint64_t trained = trains_all_weights(plan, step.choice)       ? all_blocks(config)
                                : trains_blocks(step.choice.options.phases) ? block
                                                                            : 0;
  need.training =
      (kTrainedCopies * trained + kGraphCopies * block) * kFloat + graph_bytes(config, windows);
  if (rounds_in_training(plan, step.choice)) need.training += rounded_graph_bytes(config, windows);
  need.state_sets = std::max(need.state_sets, kTrainingSets);
  need.states = std::max(need.states, kTrainingSets * state_bytes(windows, config));
}

HiddenStateStorage storage_within(std::uint64_t budget, const MemoryNeed& need) {
  if (need.least() > budget) {
    throw Error(ErrorKind::Memory, "M-BUDGET",
                concat("this run needs at least ", memory_text(need.least()),
                       " of memory and may take ", memory_text(budget),
                       "; give a larger --max-memory, shorter windows, or fewer "
                       "steps at a time"));
  }
  HiddenStateStorage storage;
  if (need.state_sets > 0) {
    storage.memory_limit_bytes = (budget - need.least()) / need.state_sets;
  }
  return storage;
}

}  // namespace edgecompress
