#include "pipeline/grid_survey.h"

#include <algorithm>

#include "base/error.h"
#include "calibrate/layer_inputs.h"
#include "decoder/block_weights.h"
#include "decoder/language_model_head.h"
#include "evaluate/token_scores.h"
#include "llama/linear_layers.h"
#include "pipeline/layer_steps.h"
#include "quantize/rtn.h"
#include "stats/hessian.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMeasuredRows = 256;  // as many as AWQ's search looks at
constexpr std::int64_t kDivergenceTokens = 1024;

/// At most kMeasuredRows of the weight, spread evenly.
at::Tensor some_rows(const at::Tensor& weight) {
  const std::int64_t rows = weight.size(0);
  if (rows <= kMeasuredRows) return weight.contiguous();
  at::Tensor index = at::empty({kMeasuredRows}, at::kLong);
  for (std::int64_t i = 0; i < kMeasuredRows; ++i) {
    index.mutable_data_ptr<std::int64_t>()[i] = i * rows / kMeasuredRows;
  }
  return weight.index_select(0, index);
}

at::Tensor rounded(const at::Tensor& weight, const QuantScheme& grid, int num_threads) {
  return dequantized(
      quantize_rtn({weight.const_data_ptr<float>(), static_cast<std::size_t>(weight.numel())},
                   weight.size(0), weight.size(1), grid, {.clip = ClipSearch::WeightError},
                   num_threads),
      num_threads);
}

/// The relative output error of each grid.
std::vector<double> grid_errors(const at::Tensor& weight, const RelativeHessian& hessian,
                                const std::vector<QuantScheme>& grids, int num_threads) {
  const at::Tensor rows = some_rows(weight);
  const double energy = output_energy(rows, hessian);
  std::vector<double> errors;
  for (const QuantScheme& grid : grids) {
    const double lost = output_energy(rows - rounded(rows, grid, num_threads), hessian);
    errors.push_back(energy > 0 ? lost / energy : 0);
  }
  return errors;
}

/// The mean over tokens of what changed of each token's state, as a share of its energy.
/// [tokens, hidden_size] each.
double mean_disturbance(const at::Tensor& changed, const at::Tensor& expected) {
  const at::Tensor exact = expected.to(at::kDouble);
  const at::Tensor energy = exact.square().sum(1).clamp_min(1e-300);
  const at::Tensor lost = (changed.to(at::kDouble) - exact).square().sum(1);
  return ordered_sum(lost / energy) / static_cast<double>(exact.size(0));
}

/// Some windows' states behind the last block seen, with one group of one block rounded.
struct Disturbed {
  std::size_t block;
  InputGroup group;
  at::Tensor states;  // [windows, length, hidden_size]
};

class GridSurvey {
 public:
  GridSurvey(const ModelFolder& model, const TokenWindows& text, const MeasuredGrids& grids,
             const EvaluationOptions& compute)
      : model_(model),
        text_(text),
        grids_(grids.schemes),
        sensitivity_(grids.sensitivity),
        compute_(compute),
        rotary_(make_rotary_table(model.config(), text.length, compute.target.device)),
        states_(text, model.matrix(kEmbeddingModule), compute.storage) {}

  /// Every block in order, then errors().
  void measure(std::int64_t index) {
    const BlockWeights block = load_block(model_, index, compute_.num_threads);
    const BlockWeights computed = to_target(block, compute_.target);
    for (Disturbed& each : disturbed_) each.states = behind(computed, each.states);
    const std::array<at::Tensor, kInputGroups.size()> disturbed = disturb(index, block);
    SequentialBlock tokens(states_, rotary_, compute_.target, compute_.storage,
                           StatesAfter::Advanced);
    BlockGridErrors errors;
    for (const InputGroup group : kInputGroups) {
      const LayerInputs inputs = gather_inputs(tokens, group, computed, CalibrationNeed::Hessian);
      const RelativeHessian hessian = relative_hessian(inputs.hessian);
      std::vector<double>& sums = errors[static_cast<std::size_t>(group)];
      sums.assign(grids_.size(), 0.0);
      for (const LinearKind kind : layers_of(group)) {
        const std::vector<double> layer = with_context(
            concat("measuring grids of ", module_name({index, kind})),
            [&] { return grid_errors(block.weight(kind), hessian, grids_, compute_.num_threads); });
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += layer[i];
      }
    }
    tokens.finish(computed);
    errors_.push_back(errors);
    take(static_cast<std::size_t>(index), disturbed);
  }

  std::vector<BlockGridErrors> errors() {
    if (sensitivity_ == GridSensitivity::Divergence) scale_to_divergences();
    return std::move(errors_);
  }

 private:
  /// Errors in proportion, that of the first grid as given.
  void scale(std::size_t block, InputGroup group, double first) {
    std::vector<double>& errors = errors_[block][static_cast<std::size_t>(group)];
    const double factor = errors.front() > 0 ? first / errors.front() : 0;
    for (double& error : errors) error *= factor;
  }

  std::int64_t compared_windows() const {
    return sensitivity_ == GridSensitivity::Divergence
               ? divergence_windows(states_.count(), states_.length())
               : std::min(windows_at_once(states_.length()), states_.count());
  }

  at::Tensor behind(const BlockWeights& block, const at::Tensor& hidden) const {
    return block_forward(block, rotary_, hidden, {});
  }

  /// For each group, the compared windows' states behind the block with that group alone rounded to
  /// the first grid.
  std::array<at::Tensor, kInputGroups.size()> disturb(std::int64_t index,
                                                      const BlockWeights& block) {
    const std::int64_t end = compared_windows();
    const at::Tensor hidden = states_.windows(0, end).to(compute_.target.device);
    std::array<at::Tensor, kInputGroups.size()> disturbed;
    for (const InputGroup group : kInputGroups) {
      BlockWeights changed = block;
      for (const LinearKind kind : layers_of(group)) {
        changed.weight(kind) = with_context(concat("rounding ", module_name({index, kind})), [&] {
          return rounded(block.weight(kind).contiguous(), grids_.front(), compute_.num_threads);
        });
      }
      disturbed[static_cast<std::size_t>(group)] =
          behind(to_target(changed, compute_.target), hidden);
    }
    return disturbed;
  }

  /// Measures the disturbed states behind a block that the undisturbed ones have passed, or keeps
  /// them for the blocks that follow.
  ///
  /// Summing the layers' own errors instead loses more: q and k err by as much as v, but matter
  /// less (perplexity 32.27 instead of 32.03 on tests/models/mini-llama at 2.67 MiB).
  void take(std::size_t block, const std::array<at::Tensor, kInputGroups.size()>& disturbed) {
    const std::int64_t end = compared_windows();
    for (const InputGroup group : kInputGroups) {
      const at::Tensor& states = disturbed[static_cast<std::size_t>(group)];
      if (sensitivity_ == GridSensitivity::Divergence) {
        disturbed_.push_back({block, group, states});
        continue;
      }
      const auto tokens = [&](const at::Tensor& values) {
        return states_.without_padding(0, end, values).cpu();
      };
      scale(block, group, mean_disturbance(tokens(states), tokens(states_.windows(0, end))));
    }
    states_.release(0, end);
  }

  void scale_to_divergences() {
    const LanguageModelHead head = load_head(model_, compute_.num_threads);
    const auto logits = [&](const at::Tensor& states, std::int64_t window) {
      const std::int64_t tokens = states_.tokens_of(window);
      return head_logits(head, states.select(0, window).slice(0, 0, tokens).cpu());
    };
    std::vector<ScoreSum> sums(disturbed_.size());
    for (std::int64_t window = 0; window < compared_windows(); ++window) {
      const auto tokens = static_cast<std::size_t>(states_.tokens_of(window));
      const at::Tensor dense = logits(states_.windows(0, window + 1), window);
      for (std::size_t i = 0; i < sums.size(); ++i) {
        sums[i].add_window(logits(disturbed_[i].states, window), text_.window(window).first(tokens),
                           dense);
      }
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      scale(disturbed_[i].block, disturbed_[i].group,
            std::max(sums[i].scores().kl_divergence_nats.value_or(0), 0.0));
    }
  }

  const ModelFolder& model_;
  const TokenWindows& text_;
  const std::vector<QuantScheme>& grids_;
  const GridSensitivity sensitivity_;
  const EvaluationOptions& compute_;
  const RotaryTable rotary_;
  HiddenStates states_;
  std::vector<BlockGridErrors> errors_;
  std::vector<Disturbed> disturbed_;  // for the divergence
};

}  // namespace

std::int64_t divergence_windows(std::int64_t count, std::int64_t length) {
  return std::min(std::max<std::int64_t>(kDivergenceTokens / length, 1), count);
}

std::vector<BlockGridErrors> measure_grid_errors(const ModelFolder& model, const TokenWindows& text,
                                                 const MeasuredGrids& grids,
                                                 const EvaluationOptions& compute,
                                                 const Progress& progress) {
  GridSurvey survey(model, text, grids, compute);
  const std::int64_t count = model.config().num_blocks();
  for (std::int64_t index = 0; index < count; ++index) {
    with_context(concat("measuring decoder block ", index), [&] { survey.measure(index); });
    if (progress) progress({"survey", index + 1, count});
  }
  return survey.errors();
}

}  // namespace edgecompress
