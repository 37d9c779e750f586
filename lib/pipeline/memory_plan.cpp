#include "pipeline/memory_plan.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "calibrate/hidden_states.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kFloat = 4;
constexpr std::int64_t kDouble = 8;
// Measured: a run that rounds the smallest model, which needs a few MiB itself.
constexpr std::int64_t kProgram = std::int64_t{300} << 20;
constexpr std::int64_t kTokensAtOnce = 4096;  // windows_at_once()
// A Hessian, its damped copy, the factor of the inverse, and one matrix of work.
constexpr std::int64_t kHessianCopies = 4;

struct Windows {
  std::int64_t count = 0;
  std::int64_t length = 0;
  std::int64_t tokens() const { return count * length; }
};

/// As many windows as the text may have, at two bytes a token, and as the recipe allows.
Windows evaluation_windows(const Recipe& recipe) {
  if (!recipe.evaluation) return {};
  constexpr std::uintmax_t kBytesOfUnknownText = std::uintmax_t{1} << 20;
  constexpr std::int64_t kBytesOfToken = 2;  // fewer than tokenizers make of plain text
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(recipe.evaluation->text, error);
  const auto bytes = static_cast<std::int64_t>(error ? kBytesOfUnknownText : size);
  const std::int64_t length = recipe.evaluation->window;
  const std::int64_t in_text = std::max<std::int64_t>(1, bytes / kBytesOfToken / length);
  return {.count = std::min(recipe.evaluation->max_windows.value_or(in_text), in_text),
          .length = length};
}

Windows calibration_windows(const WalkPlan& plan, const Recipe& recipe) {
  if (!plan.needs_calibration() || !recipe.calibration) return {};
  return {.count = recipe.calibration->samples, .length = recipe.calibration->sequence_length};
}

void add_states(MemoryPlan& memory, const Windows& windows, std::int64_t width, std::int64_t sets) {
  const std::int64_t bytes = windows.tokens() * width * kFloat;
  const auto limit = static_cast<std::int64_t>(HiddenStateStorage{}.memory_limit_bytes);
  (bytes > limit ? memory.spilled : memory.hidden_states) += sets * bytes;
}

}  // namespace

MemoryPlan plan_memory(const WalkPlan& plan, const Recipe& recipe) {
  const LlamaConfig& config = plan.configs.front();
  const BlockShape& block = config.blocks.front();
  const auto num_stages = static_cast<std::int64_t>(plan.steps.size()) + 1;
  const Windows calibration = calibration_windows(plan, recipe);
  const Windows evaluation = evaluation_windows(recipe);
  const bool runs_texts = calibration.count > 0 || evaluation.count > 0;
  const bool only_rounds = !runs_texts && plan.steps.size() == 1;  // some rows at a time

  MemoryPlan memory{.program = kProgram};
  const std::int64_t block_bytes = linear_parameters(config, 0) * kFloat;
  memory.blocks = only_rounds ? block_bytes / 2 : (num_stages + 1) * block_bytes;
  const std::int64_t table = config.vocab_size * config.hidden_size * kFloat;
  if (runs_texts) memory.tables = (evaluation.count > 0 ? 3 : 1) * table;
  if (plan.layer_need == CalibrationNeed::Hessian || plan.cut_need == CalibrationNeed::Hessian) {
    const std::int64_t widest = std::max(config.hidden_size, block.intermediate_size);
    memory.hessians = kHessianCopies * widest * widest * kDouble;
  }
  add_states(memory, calibration, config.hidden_size, 3);  // and two more inside a block
  add_states(memory, evaluation, config.hidden_size, num_stages);
  if (runs_texts) {
    const std::int64_t length = std::max(calibration.length, evaluation.length);
    const std::int64_t tokens = std::max(kTokensAtOnce, length);
    memory.forward = tokens * kFloat * (4 * config.hidden_size + 3 * block.intermediate_size);
    if (evaluation.count > 0) memory.forward += 4 * evaluation.length * config.vocab_size * kFloat;
  }
  return memory;
}

}  // namespace edgecompress
