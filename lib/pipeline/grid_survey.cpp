#include "pipeline/grid_survey.h"

#include <algorithm>

#include "base/error.h"
#include "calibrate/layer_inputs.h"
#include "decoder/block_weights.h"
#include "llama/linear_layers.h"
#include "pipeline/layer_steps.h"
#include "quantize/rtn.h"
#include "stats/hessian.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMeasuredRows = 256;  // as many as AWQ's search looks at

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
std::vector<double> grid_errors(const at::Tensor& weight, const at::Tensor& hessian,
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

class GridSurvey {
 public:
  GridSurvey(const ModelFolder& model, const TokenWindows& text,
             const std::vector<QuantScheme>& grids, const EvaluationOptions& compute)
      : model_(model),
        grids_(grids),
        compute_(compute),
        rotary_(make_rotary_table(model.config(), text.length, compute.target.device)),
        states_(text, model.matrix(kEmbeddingModule), compute.storage) {}

  BlockGridErrors measure(std::int64_t index) {
    const BlockWeights block = load_block(model_, index, compute_.num_threads);
    const BlockWeights computed = to_target(block, compute_.target);
    const std::array<double, kInputGroups.size()> disturbances = disturb(index, block);
    SequentialBlock tokens(states_, rotary_, compute_.target, compute_.storage);
    BlockGridErrors errors;
    for (const InputGroup group : kInputGroups) {
      const LayerInputs inputs = gather_inputs(tokens, group, computed, CalibrationNeed::Hessian);
      std::vector<double>& sums = errors[static_cast<std::size_t>(group)];
      sums.assign(grids_.size(), 0.0);
      for (const LinearKind kind : layers_of(group)) {
        const std::vector<double> layer =
            with_context(concat("measuring grids of ", module_name({index, kind})), [&] {
              return grid_errors(block.weight(kind), inputs.hessian, grids_, compute_.num_threads);
            });
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += layer[i];
      }
      scale_to(sums, disturbances[static_cast<std::size_t>(group)]);
    }
    tokens.finish(computed);
    return errors;
  }

 private:
  /// Errors in proportion, that of the first grid as given.
  static void scale_to(std::vector<double>& errors, double first) {
    const double factor = errors.front() > 0 ? first / errors.front() : 0;
    for (double& error : errors) error *= factor;
  }

  /// For each group, what rounding it alone to the first grid does to the states behind the block,
  /// over the tokens of one piece.
  ///
  /// Summing the layers' own errors instead loses more: q and k err by as much as v, but matter
  /// less (perplexity 32.27 instead of 32.03 on tests/models/mini-llama at 2.67 MiB).
  std::array<double, kInputGroups.size()> disturb(std::int64_t index, const BlockWeights& block) {
    const std::int64_t end = std::min(windows_at_once(states_.length()), states_.count());
    const at::Tensor hidden = states_.windows(0, end).to(compute_.target.device);
    const auto behind = [&](const BlockWeights& weights) {
      const at::Tensor states =
          block_forward(to_target(weights, compute_.target), rotary_, hidden, {});
      return states_.without_padding(0, end, states).cpu();
    };
    const at::Tensor expected = behind(block);
    std::array<double, kInputGroups.size()> disturbances{};
    for (const InputGroup group : kInputGroups) {
      BlockWeights changed = block;
      for (const LinearKind kind : layers_of(group)) {
        changed.weight(kind) = with_context(concat("rounding ", module_name({index, kind})), [&] {
          return rounded(block.weight(kind).contiguous(), grids_.front(), compute_.num_threads);
        });
      }
      disturbances[static_cast<std::size_t>(group)] = mean_disturbance(behind(changed), expected);
    }
    states_.release(0, end);
    return disturbances;
  }

  const ModelFolder& model_;
  const std::vector<QuantScheme>& grids_;
  const EvaluationOptions& compute_;
  const RotaryTable rotary_;
  HiddenStates states_;
};

}  // namespace

std::vector<BlockGridErrors> measure_grid_errors(const ModelFolder& model, const TokenWindows& text,
                                                 const std::vector<QuantScheme>& grids,
                                                 const EvaluationOptions& compute,
                                                 const Progress& progress) {
  GridSurvey survey(model, text, grids, compute);
  const std::int64_t count = model.config().num_blocks();
  std::vector<BlockGridErrors> errors;
  for (std::int64_t index = 0; index < count; ++index) {
    errors.push_back(with_context(concat("measuring decoder block ", index),
                                  [&] { return survey.measure(index); }));
    if (progress) progress({"survey", index + 1, count});
  }
  return errors;
}

}  // namespace edgecompress
