#include "pipeline/time_estimate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sha256.h"
#include "llama/linear_layers.h"
#include "methods/method_names.h"
#include "pipeline/layer_steps.h"
#include "pipeline/memory_need.h"
#include "pipeline/walk_plan.h"
#include "report/text_numbers.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSpread = 2;                // of TimeEstimate::least() and most()
constexpr double kProbeSeconds = 0.25;       // of one kind of work
constexpr std::int64_t kProbeColumns = 512;  // a multiple of every group size and of 2:4
constexpr std::int64_t kProbeRows = 256;
constexpr std::int64_t kProbeTokens = 1024;
// A row of a repair is solved alone, with as many unknowns as it keeps weights.
constexpr std::int64_t kRepairColumns = 128;
constexpr std::int64_t kRepairRows = 32;
// A block's calibration tokens go through it to be counted, and once more behind its changes.
constexpr double kCalibrationPasses = 2;
// Forward, and two products of the same size backward.
constexpr double kTrainingProducts = 3;
// Of taylor_scores() and measure_grid_errors(), as their headers say.
constexpr double kGradientPasses = 3;
constexpr double kGridPasses = 1.5;
constexpr double kFlopsOfWeight = 2;
constexpr std::int64_t kConvertedValues = std::int64_t{16} << 20;  // more than caches hold
constexpr std::size_t kHashedBytes = std::size_t{8} << 20;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds of one call, the mean of those that fit into the probe's time; the first, which finds no
/// memory and no threads yet, is not counted.
double seconds_of(const std::function<void()>& work) {
  work();
  const Clock::time_point start = Clock::now();
  int calls = 0;
  do {
    work();
    ++calls;
  } while (seconds_since(start) < kProbeSeconds);
  return seconds_since(start) / calls;
}

double number(std::int64_t value) { return static_cast<double>(value); }

/// Of the calibration tokens, to train each block.
double training_passes(const Step& step) {
  const auto* const prune = std::get_if<PruneStep>(&step.action);
  if (prune != nullptr && prune->cut.repair == CutRepair::Reconstruction) {
    return kTrainingProducts * number(prune->cut.reconstruction.epochs);
  }
  const auto* const mask = std::get_if<MaskStep>(&step.action);
  if (mask != nullptr && mask->repair == MaskRepair::Reconstruction) {
    return kTrainingProducts * number(mask->reconstruction.epochs) + kCalibrationPasses;
  }
  return 0;
}

/// How often the calibration tokens pass the blocks.
double calibration_passes(const WalkPlan& plan) {
  double passes = plan.needs_calibration() ? kCalibrationPasses : 0;
  if (plan.follows_dense()) passes += 1;
  if (plan.needs_survey) passes += 1;
  if (plan.gradients) passes += kGradientPasses;
  if (plan.measures_grids()) passes += kGridPasses;
  for (const Step& step : plan.steps) passes += training_passes(step);
  // Of n blocks the i-th is passed by the text for each of the i before it, and once to go on.
  const double blocks = number(plan.configs.front().num_blocks());
  for (std::int64_t i = 0; i < plan.removed_by_perplexity; ++i) {
    const double left = blocks - number(i);
    passes += left * (left + 1) / 2 / blocks;
  }
  return passes;
}

/// Float products, in FLOPs.
double calibration_products(const WalkPlan& plan, const TextSizes& texts) {
  if (!texts.calibration) return 0;
  const LlamaConfig& config = plan.configs.front();
  const double tokens = number(texts.calibration->count * texts.calibration->length);
  const double passes = calibration_passes(plan);
  const double hessians = (plan.needs_hessians() ? 1 : 0) + (plan.measures_grids() ? 1 : 0);
  double flops = 0;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    flops += passes * kFlopsOfWeight * number(linear_parameters(config, block)) * tokens;
    for (const LinearKind kind : {LinearKind::Q, LinearKind::O, LinearKind::Gate,
                                  LinearKind::Down}) {  // one of each group of inputs
      const double width = number(linear_shape(config, {block, kind}).in_features);
      flops += hessians * kFlopsOfWeight * width * width * tokens;
    }
  }
  return flops;
}

/// Of rounded groups: some windows through the blocks behind each, and through the head.
double divergence_products(const WalkPlan& plan, const TextSizes& texts) {
  if (!texts.calibration || !plan.measures_divergence()) return 0;
  const LlamaConfig& config = plan.configs.front();
  const std::int64_t length = texts.calibration->length;
  const double tokens = number(divergence_windows(texts.calibration->count, length) * length);
  const double groups = number(kInputGroups.size());
  double weights = number(config.num_blocks() * config.vocab_size * config.hidden_size);
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    weights += number((block + 1) * linear_parameters(config, block));
  }
  return kFlopsOfWeight * groups * tokens * weights;
}

double scoring_products(const WalkPlan& plan, const TextSizes& texts) {
  if (!texts.evaluation) return 0;
  const double tokens = number(texts.evaluation->count * texts.evaluation->length);
  double flops = 0;
  for (const LlamaConfig& config : plan.configs) flops += number(flops_per_token(config)) * tokens;
  return flops;
}

double training_products(const WalkPlan& plan, const Recipe& recipe) {
  const auto* const step = step_of<RecoverStep>(recipe.steps);
  if (step == nullptr) return 0;
  const WindowSizes windows = expected_training_size(*step);
  const double tokens = number(windows.count * windows.length);
  const TrainingOptions& options = step->choice.options;
  const double student = kTrainingProducts * number(flops_per_token(plan.output_config()));
  const double teacher = number(flops_per_token(plan.configs.front()));
  double flops = 0;
  if (trains_blocks(options.phases)) {  // the teacher's blocks are passed once
    flops += tokens * (number(options.blocks.epochs) * student + teacher);
  }
  if (trains_whole(options.phases)) {
    flops += tokens * number(options.epochs) * (student + teacher);
  }
  return flops;
}

/// Sum over the blocks' layers of rows x columns^power, of the model a step works on.
double layer_work(const LlamaConfig& config, const std::function<bool(const std::string&)>& touches,
                  int power) {
  double work = 0;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) {
      if (!touches(module_name({block, kind}))) continue;
      const MatrixShape shape = linear_shape(config, {block, kind});
      work += number(shape.out_features) * std::pow(number(shape.in_features), power);
    }
  }
  return work;
}

/// Sum over the groups of inputs of columns^3.
double factor_work(const LlamaConfig& config) {
  double work = 0;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    for (const LinearKind kind :
         {LinearKind::Q, LinearKind::O, LinearKind::Gate, LinearKind::Down}) {
      work += std::pow(number(linear_shape(config, {block, kind}).in_features), 3);
    }
  }
  return work;
}

/// A layer and what it reads, made up; the same numbers every time.
struct ProbeLayer {
  ProbeLayer(std::int64_t rows, std::int64_t columns) {
    const at::Tensor ids = at::arange(std::max(rows, kProbeTokens) * columns, at::kFloat);
    const at::Tensor values = at::sin(ids * 1.7).add(at::sin(ids * 0.37));
    weight = values.slice(0, 0, rows * columns).view({rows, columns}).contiguous();
    const at::Tensor tokens =
        at::cos(ids.slice(0, 0, kProbeTokens * columns) * 0.91).view({kProbeTokens, columns});
    const at::Tensor hessian = at::mm(tokens.t(), tokens).to(at::kDouble) / kProbeTokens;
    const at::Tensor ridge = at::eye(columns, at::kDouble) * 0.1;  // the waves are few
    inputs = {.norm = tokens.square().sum(0).sqrt(),
              .deviation = tokens.square().sum(0).sqrt(),
              .hessian = hessian + ridge};
  }
  LayerState state() const { return {.weight = weight, .dense = weight}; }

  at::Tensor weight;
  LayerInputs inputs;
};

class TimeProbe {
 public:
  TimeProbe(const WalkPlan& plan, const Recipe& recipe, const RunOptions& options)
      : plan_(plan),
        recipe_(recipe),
        num_threads_(options.compute.num_threads),
        texts_(expected_text_sizes(plan, recipe)) {}

  TimeEstimate measure(const ModelFolder& model) {
    const Clock::time_point start = Clock::now();
    add_products();
    if (plan_.needs_hessians()) add_factors();
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) add_step(i);
    add_bytes(model);
    estimate_.probe_seconds = seconds_since(start);
    return std::move(estimate_);
  }

 private:
  /// work: how much of what one call of `once` does `amount` of.
  void add(const std::string& name, double work, double amount, const char* unit,
           const std::function<void()>& once) {
    if (work <= 0) return;
    const double speed = amount / seconds_of(once);
    estimate_.parts.push_back({.name = name,
                               .seconds = work / speed,
                               .measured = concat(formatted("%.1e", speed), " ", unit, "/s")});
  }

  void add_products() {
    const at::Tensor a = at::ones({kProbeTokens, kProbeColumns}, at::kFloat);
    const at::Tensor b = at::ones({2 * kProbeColumns, kProbeColumns}, at::kFloat);
    const double flops = kFlopsOfWeight * number(b.numel() * kProbeTokens);
    const auto product = [&] { at::mm(a, b.t()); };
    add("calibration", calibration_products(plan_, texts_) + divergence_products(plan_, texts_),
        flops, "FLOP", product);
    add("scores", scoring_products(plan_, texts_), flops, "FLOP", product);
    add("training", training_products(plan_, recipe_), flops, "FLOP", product);
  }

  void add_factors() {
    const ProbeLayer layer(kProbeRows, kProbeColumns);
    const std::vector<std::int64_t> order = natural_order(kProbeColumns);
    add("Hessian factors", factor_work(plan_.configs.front()), std::pow(number(kProbeColumns), 3),
        "columns^3", [&] { inverse_factor(layer.inputs.hessian, 0.01, order); });
  }

  void add_step(std::size_t i) {
    const Step& step = plan_.steps[i];
    const LlamaConfig& config = plan_.configs[i];
    if (const auto* quantize = std::get_if<QuantizeStep>(&step.action)) add(*quantize, config);
    if (const auto* mask = std::get_if<MaskStep>(&step.action)) add(*mask, config);
  }

  void add(const QuantizeStep& step, const LlamaConfig& config) {
    const auto touches = [&](const std::string& module) {
      return scheme_of(step, {.module = module, .in_features = 0, .role = MatrixRole::Block})
          .has_value();
    };
    const int power = calibration_need(step.method) >= CalibrationNeed::Hessian ? 2 : 1;
    const ProbeLayer layer(kProbeRows, kProbeColumns);
    GroupInputs inputs(layer.inputs);
    quantize_layer(layer.state(), &inputs, step.weights, step.method, num_threads_);  // the factor
    add(std::string(method_name(step.method)), layer_work(config, touches, power),
        number(kProbeRows) * std::pow(number(kProbeColumns), power),
        power == 1 ? "weights" : "weights*columns",
        [&] { quantize_layer(layer.state(), &inputs, step.weights, step.method, num_threads_); });
  }

  void add(const MaskStep& step, const LlamaConfig& config) {
    const auto touches = [&](const std::string& module) { return targets(step.targets, module); };
    const bool solves = solves_rows(step.repair);
    const int power = solves                                                                   ? 3
                      : calibration_need(step.method, step.repair) == CalibrationNeed::Hessian ? 2
                                                                                               : 1;
    const std::int64_t rows = solves ? kRepairRows : kProbeRows;
    const std::int64_t columns = solves ? kRepairColumns : kProbeColumns;
    const ProbeLayer layer(rows, columns);
    GroupInputs inputs(layer.inputs);
    MaskStep probe = step;  // what dense outputs add is one solution more for all rows together
    if (solves) probe.repair = MaskRepair::LeastSquares;
    mask_layer(layer.state(), &inputs, probe, config.dtype);
    add(concat(method_name(step.method), solves ? " with repair" : ""),
        layer_work(config, touches, power), number(rows) * std::pow(number(columns), power),
        power == 1   ? "weights"
        : power == 2 ? "weights*columns"
                     : "weights*columns^2",
        [&] { mask_layer(layer.state(), &inputs, probe, config.dtype); });
  }

  /// Every weight is read and made a float, and what is written is hashed, as a checkpoint and
  /// again as an artifact.
  void add_bytes(const ModelFolder& model) {
    const at::Tensor halves = at::ones({kConvertedValues}, at::kHalf);
    add("reading", number(static_cast<std::int64_t>(model.store().total_bytes())),
        number(halves.numel() * 2), "bytes", [&] { halves.to(at::kFloat); });
    double written = 0;
    for (const auto& [module, shape] : model_matrices(plan_.output_config())) {
      written += number(stored_bytes(module, shape, plan_.forms.at(module)));
    }
    if (step_of<ExportStep>(recipe_.steps) != nullptr) written *= 2;
    const std::vector<std::byte> bytes(kHashedBytes);
    add("hashing", written, number(kHashedBytes), "bytes", [&] { sha256_hex(bytes); });
  }

  const WalkPlan& plan_;
  const Recipe& recipe_;
  const int num_threads_;
  const TextSizes texts_;
  TimeEstimate estimate_;
};

std::string duration_text(double seconds) {
  if (seconds < 1) return "less than 1 s";
  if (seconds < 90) return formatted("%.0f s", seconds);
  if (seconds < 90 * 60) return formatted("%.0f min", seconds / 60);
  return formatted("%.1f h", seconds / 3600);
}

}  // namespace

double TimeEstimate::seconds() const {
  double sum = 0;
  for (const TimePart& part : parts) sum += part.seconds;
  return sum;
}
double TimeEstimate::least() const { return seconds() / kSpread; }
double TimeEstimate::most() const { return seconds() * kSpread; }

TimeEstimate estimate_time(const ModelFolder& model, const Recipe& recipe,
                           const RunOptions& options) {
  const WalkPlan plan = plan_walk(model, recipe);
  return TimeProbe(plan, recipe, options).measure(model);
}

nlohmann::ordered_json time_json(const TimeEstimate& estimate) {
  nlohmann::ordered_json out{{"seconds", estimate.seconds()},
                             {"least_seconds", estimate.least()},
                             {"most_seconds", estimate.most()},
                             {"parts", nlohmann::ordered_json::array()}};
  for (const TimePart& part : estimate.parts) {
    out["parts"].push_back(
        {{"name", part.name}, {"seconds", part.seconds}, {"measured", part.measured}});
  }
  return out;
}

std::string time_text(const TimeEstimate& estimate) {
  std::string out = concat("time        about ", duration_text(estimate.seconds()), ", estimated (",
                           duration_text(estimate.least()), " to ", duration_text(estimate.most()),
                           "); measured for ", formatted("%.1f s", estimate.probe_seconds),
                           ", without disks, check and speed test\n");
  for (const TimePart& part : estimate.parts) {
    out += concat("            ", part.name, ": ", duration_text(part.seconds), " at ",
                  part.measured, "\n");
  }
  return out;
}

}  // namespace edgecompress
