#include "pipeline/walk_plan.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "llama/hollow_model.h"
#include "llama/linear_layers.h"
#include "llama/weight_layout.h"
#include "methods/method_names.h"
#include "pipeline/block_decisions.h"
#include "pipeline/cut_target.h"
#include "pipeline/export_run.h"
#include "pipeline/grid_choice.h"
#include "prune/allocation.h"

namespace edgecompress {
namespace {

void refuse_foreign_model(const ModelFolder& model, const Recipe& recipe) {
  const std::string type = model.config().document.value("model_type", "");
  const bool accepted = recipe.model_types.empty() ||
                        std::find(recipe.model_types.begin(), recipe.model_types.end(), type) !=
                            recipe.model_types.end();
  if (!accepted) {
    throw Error(ErrorKind::Unsupported, "R-MODEL",
                concat("the recipe is for other models than model_type \"", type, "\" of ",
                       model.path().string()));
  }
}

void refuse_quantized_model(const ModelFolder& model) {
  if (!model.is_quantized()) return;
  throw Error(
      ErrorKind::Unsupported, "C15",
      concat(model.path().string(),
             " is quantized already; prune, mask and quantize start from floating weights"));
}

double& sparsity_of(SparsityPattern& pattern) {
  if (auto* const whole = std::get_if<Unstructured>(&pattern)) return whole->sparsity;
  if (auto* const row = std::get_if<PerRow>(&pattern)) return row->sparsity;
  auto* const blocks = std::get_if<Blocks>(&pattern);
  ensure(blocks != nullptr, "a pattern with a sparsity");
  return blocks->sparsity;
}

/// A mask's runs must divide the rows they lie in, also after a cut; known before any weight is
/// read.
void refuse_ragged_runs(const MaskStep& step, const LlamaConfig& config) {
  const auto* const pattern = std::get_if<NofM>(&step.pattern);
  if (pattern == nullptr) return;
  for (const auto& [module, shape] : model_matrices(config)) {
    if (module == kEmbeddingModule || module == kHeadModule) continue;
    if (shape.in_features % pattern->of == 0 || !targets(step.targets, module)) continue;
    throw Error(
        ErrorKind::Unsupported, "R18",
        concat("pattern ", describe(step.pattern), " needs in_features to be a multiple of ",
               pattern->of, "; ", module, " has ", shape.in_features));
  }
}

NamedMatrix named(const std::string& module, std::int64_t in_features) {
  const MatrixRole role = module == kEmbeddingModule ? MatrixRole::Embedding
                          : module == kHeadModule    ? MatrixRole::Head
                                                     : MatrixRole::Block;
  return {.module = module, .in_features = in_features, .role = role};
}

StoredForm form_of(const std::string& module, const LlamaConfig& config,
                   const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    const auto* const quantize = std::get_if<QuantizeStep>(&step.action);
    if (quantize == nullptr) continue;
    const NamedMatrix matrix = named(module, 0);
    if (const auto scheme = scheme_of(*quantize, matrix)) {
      return QuantizedForm{*scheme, activations_of(*quantize, matrix)};
    }
  }
  return FloatForm{config.dtype};
}

std::vector<NamedMatrix> named_matrices(const LlamaConfig& config) {
  std::vector<NamedMatrix> matrices;
  for (const auto& [module, shape] : model_matrices(config)) {
    matrices.push_back(named(module, shape.in_features));
  }
  return matrices;
}

/// Bytes of the artifact when the model's matrices have these forms: of the recipe's export, or of
/// a genai one.
std::int64_t artifact_bytes(const ModelFolder& model, const Recipe& recipe,
                            const LlamaConfig& config, const WeightForms& forms) {
  const HollowModel written(config, forms, head_values(model), model.path());
  const auto* const step = step_of<ExportStep>(recipe.steps);
  ExportOptions exporting = step == nullptr ? ExportOptions{} : export_options(*step, 1);
  exporting.sparse.reset();  // as plan_output: the size of the dense twin
  return static_cast<std::int64_t>(plan_onnx(written.folder(), exporting).total());
}

std::string_view stage_kind(const Step& step) {
  if (std::holds_alternative<PruneStep>(step.action)) return "pruned";
  if (std::holds_alternative<MaskStep>(step.action)) return "masked";
  if (std::holds_alternative<DropLayersStep>(step.action)) return "shortened";
  return "quantized";
}

MatrixShape shape_of(const LlamaConfig& config, const std::string& module) {
  for (const auto& [name, shape] : model_matrices(config)) {
    if (name == module) return shape;
  }
  ensure(false, "a matrix of the model");
  return {};
}

/// Shape, in the model as it is read, of a matrix that is written.
MatrixShape source_shape(const LlamaConfig& config, const WalkPlan& plan,
                         const std::string& module) {
  if (module == kEmbeddingModule || module == kHeadModule) return shape_of(config, module);
  for (std::size_t block = 0; block < plan.source_blocks.size(); ++block) {
    for (const LinearKind kind : kLinearKinds) {
      if (module_name({static_cast<std::int64_t>(block), kind}) != module) continue;
      return linear_shape(config, {plan.source_blocks[block], kind});
    }
  }
  ensure(false, "a matrix of the model");
  return {};
}

std::string form_name(const StoredForm& form) {
  if (const auto* floating = std::get_if<FloatForm>(&form)) {
    return std::string(dtype_name(floating->dtype));
  }
  return concat("int", std::get<QuantizedForm>(form).scheme.bits);
}

/// Resolves the steps one after the other, each on the widths that the one before leaves.
class Planner {
 public:
  Planner(const ModelFolder& model, const Recipe& recipe, const ModelSurvey& survey)
      : model_(model),
        recipe_(recipe),
        survey_(survey),
        sequence_length_(recipe.calibration ? recipe.calibration->sequence_length
                                            : Calibration{}.sequence_length) {
    const LlamaConfig& config = model.config();
    plan_.configs.push_back(config);
    plan_.source_blocks = blocks_left({}, config.num_blocks(), {});
  }

  WalkPlan plan() {
    for (const Step& step : recipe_.steps) {
      if (std::holds_alternative<ExportStep>(step.action) ||
          std::holds_alternative<RecoverStep>(step.action)) {
        continue;
      }
      if (!std::holds_alternative<DropLayersStep>(step.action)) check_patterns();
      LlamaConfig config = plan_.output_config();
      with_context(concat("planning step '", step.id, "'"), [&] {
        if (const auto* drop = std::get_if<DropLayersStep>(&step.action)) resolve(*drop, config);
        if (const auto* prune = std::get_if<PruneStep>(&step.action)) {
          resolve(*prune, step.id, config);
        }
        if (const auto* mask = std::get_if<MaskStep>(&step.action)) resolve(*mask, step.id, config);
        if (const auto* quantize = std::get_if<QuantizeStep>(&step.action)) {
          raise(plan_.layer_need, calibration_need(quantize->method));
          refuse_tied_head(*quantize, config);
        }
      });
      plan_.configs.push_back(std::move(config));
      plan_.steps.push_back(step);
    }
    check_patterns();
    resolve_grids();
    plan_.forms = forms();
    return std::move(plan_);
  }

 private:
  static void refuse_tied_head(const QuantizeStep& step, const LlamaConfig& config) {
    if (step.head_rounding == HeadRounding::Nearest || !config.tie_word_embeddings) return;
    throw Error(ErrorKind::Unsupported, "U-HEAD",
                "the model's head is its embedding, whose rows are also looked up, and GPTQ would "
                "change them for the head alone; leave the head's rounding out");
  }

  WeightForms forms() const {
    WeightForms forms;
    for (const auto& [module, shape] : model_matrices(plan_.output_config())) {
      forms.emplace(module, form_of(module, plan_.output_config(), plan_.steps));
    }
    return forms;
  }

  /// Rules for what the quantize step leaves to its precision rule or to its size target.
  void resolve_grids() {
    const std::vector<NamedMatrix> matrices = named_matrices(plan_.output_config());
    for (Step& step : plan_.steps) {
      auto* const quantize = std::get_if<QuantizeStep>(&step.action);
      if (quantize == nullptr) continue;
      *quantize = with_precision_rule(std::move(*quantize), matrices);
      if (!quantize->size_target) continue;
      const LlamaConfig& config = plan_.output_config();
      const WeightForms given = forms();
      const std::vector<QuantizeStep::Rule> rules =
          with_context(concat("planning step '", step.id, "'"), [&] {
            return choose_grids({.config = config,
                                 .step = *quantize,
                                 .forms = given,
                                 .errors = survey_.grid_errors,
                                 .artifact_bytes = [&](const WeightForms& forms) {
                                   return artifact_bytes(model_, recipe_, config, forms);
                                 }});
          });
      for (const QuantizeStep::Rule& rule : rules) {
        plan_.measured_grids.insert(rule.targets.match.begin(), rule.targets.match.end());
      }
      quantize->rules.insert(quantize->rules.end(), rules.begin(), rules.end());
    }
  }

  static void raise(CalibrationNeed& need, CalibrationNeed to) { need = std::max(need, to); }

  /// Once, when it is known which blocks are left: patterns name the blocks that are written.
  void check_patterns() {
    if (checked_) return;
    checked_ = true;
    plan_.warnings = check_targets(recipe_, named_matrices(plan_.output_config()));
  }

  void resolve(DropLayersStep step, LlamaConfig& config) {
    if (step.count > 0) {
      const bool by_perplexity = step.score == LayerScore::Perplexity;
      if (by_perplexity) plan_.removed_by_perplexity = step.count;
      if (by_perplexity && !survey_.removed.empty()) step = {.layers = survey_.removed};
      if (!by_perplexity) plan_.needs_survey = true;
      if (!config.is_uniform()) plan_.sizes_need_survey = true;  // else every block weighs the same
    }
    plan_.source_blocks = blocks_left(step, config.num_blocks(), survey_.blocks);
    config = with_blocks(std::move(config), plan_.source_blocks);
  }

  void resolve(const PruneStep& step, const std::string& id, LlamaConfig& config) {
    if (std::holds_alternative<TaylorScore>(step.cut.score) ||
        step.cut.allocation == CutAllocation::PerLayer) {
      resolve_taylor(config);
    }
    const std::vector<CutWidths> widths = widths_after(step.cut, config);
    plan_.widths.emplace(id, widths);
    config = with_widths(std::move(config), widths);
    raise(plan_.cut_need, calibration_need(step.cut));
    if (step.cut.allocation == CutAllocation::PerLayer) plan_.sizes_need_survey = true;
    if (aims_at_dense(step.cut.repair)) plan_.cuts_for_dense_outputs = true;
    if (step.cut.repair == CutRepair::Reconstruction) plan_.reconstructs_blocks = true;
  }

  std::vector<CutWidths> widths_after(const StructuredCut& cut, const LlamaConfig& config) const {
    const std::vector<BlockSurvey> surveys = surveys_of(plan_.source_blocks, survey_.blocks);
    const auto widths = [&](const StructuredCut& with_ratio) {
      return widths_of({with_ratio}, config, surveys, sequence_length_);
    };
    if (!counts_bytes(cut.target)) return widths(cut);
    const std::vector<Step> steps = steps_with_rules(config);
    const auto bytes = [&](const LlamaConfig& of) { return bytes_for(cut.target, of, steps); };
    return widths(cut_for_bytes(cut, bytes(config), [&](const StructuredCut& with_ratio) {
      return bytes(with_widths(config, widths(with_ratio)));
    }));
  }

  /// The recipe's steps, precision rules spelled out.
  std::vector<Step> steps_with_rules(const LlamaConfig& config) const {
    std::vector<Step> steps = recipe_.steps;
    for (Step& step : steps) {
      auto* const quantize = std::get_if<QuantizeStep>(&step.action);
      if (quantize == nullptr) continue;
      *quantize = with_precision_rule(std::move(*quantize), named_matrices(config));
    }
    return steps;
  }

  /// Of the matrices of `config` on the grids that the steps give them.
  static std::int64_t bytes_for(StructuredTarget target, const LlamaConfig& config,
                                const std::vector<Step>& steps) {
    std::int64_t bytes = 0;
    for (const auto& [module, shape] : model_matrices(config)) {
      const bool looked_up = module == kEmbeddingModule && !config.tie_word_embeddings;
      if (target == StructuredTarget::DecodeTime && looked_up) continue;
      bytes += stored_bytes(module, shape, form_of(module, config, steps));
    }
    return bytes;
  }

  /// The scores are of the dense model's parts: a step that finds others cannot use them.
  void resolve_taylor(const LlamaConfig& config) {
    if (!plan_.widths.empty()) {
      throw Error(ErrorKind::Unsupported, "P-TAYLOR",
                  "score taylor or allocation per-layer after another prune step: both look at the "
                  "uncut model's parts. Do such a step first");
    }
    plan_.needs_survey = true;
    if (!plan_.gradients) plan_.gradients = GradientDetail::Parts;
    for (const BlockSurvey& block : surveys_of(plan_.source_blocks, survey_.blocks)) {
      plan_.part_scores.push_back(block.taylor);
    }
    ensure(plan_.part_scores.empty() || plan_.part_scores.size() == config.blocks.size(),
           "scores of every block");
  }

  void resolve(const MaskStep& step, const std::string& id, const LlamaConfig& config) {
    refuse_ragged_runs(step, config);
    raise(plan_.layer_need, calibration_need(step.method, step.repair));
    if (step.repair == MaskRepair::DenseOutputs) plan_.masks_for_dense_outputs = true;
    if (step.repair == MaskRepair::Reconstruction) plan_.reconstructs_blocks = true;
    if (step.allocation == MaskAllocation::Outliers) spread_by_outliers(step, id, config);
    if (step.allocation == MaskAllocation::Loss) spread_by_loss(id);
  }

  void spread_by_loss(const std::string& id) {
    plan_.needs_survey = true;
    plan_.gradients = GradientDetail::Outputs;
    plan_.spreads_by_loss = true;
    const auto found = survey_.sparsities.find(id);
    if (found != survey_.sparsities.end()) plan_.sparsities.emplace(*found);
  }

  void spread_by_outliers(const MaskStep& step, const std::string& id, const LlamaConfig& config) {
    plan_.needs_survey = true;
    std::vector<double> shares;
    for (const BlockSurvey& block : surveys_of(plan_.source_blocks, survey_.blocks)) {
      shares.push_back(block.outlier_share);
    }
    shares.resize(config.blocks.size(), 0.0);
    const std::vector<double> sparsities =
        outlier_sparsities(shares, target_sparsity(step.pattern), step.spread);
    MatrixSparsities& by_module = plan_.sparsities[id];
    for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
      for (const LinearKind kind : kLinearKinds) {
        by_module.emplace(module_name({block, kind}), sparsities[static_cast<std::size_t>(block)]);
      }
    }
  }

  const ModelFolder& model_;
  const Recipe& recipe_;
  const ModelSurvey& survey_;
  const std::int64_t sequence_length_;
  WalkPlan plan_;
  bool checked_ = false;
};

}  // namespace

std::int64_t stored_bytes(const std::string& module, MatrixShape shape, const StoredForm& form) {
  std::int64_t bytes = 0;
  for (const TensorHeader& tensor : weight_headers(module, shape, form)) {
    bytes += num_elements(tensor.shape) * static_cast<std::int64_t>(dtype_bytes(tensor.dtype));
  }
  return bytes;
}

bool WalkPlan::measures_divergence() const {
  const auto* const step = step_of<QuantizeStep>(steps);
  return measures_grids() && step->sensitivity == GridSensitivity::Divergence;
}

bool is_layer_step(const Step& step) {
  return std::holds_alternative<MaskStep>(step.action) ||
         std::holds_alternative<QuantizeStep>(step.action);
}

WalkPlan plan_walk(const ModelFolder& model, const Recipe& recipe, const ModelSurvey& survey) {
  refuse_foreign_model(model, recipe);
  refuse_quantized_model(model);
  return Planner(model, recipe, survey).plan();
}

SparsityPattern pattern_of_module(const WalkPlan& plan, const Step& step,
                                  const std::string& module) {
  SparsityPattern pattern = std::get<MaskStep>(step.action).pattern;
  const auto found = plan.sparsities.find(step.id);
  if (found != plan.sparsities.end()) {
    sparsity_of(pattern) = found->second.at(module);
  }
  return pattern;
}

std::string stage_name(const WalkPlan& plan, std::size_t step) {
  const std::string_view kind = stage_kind(plan.steps[step]);
  const auto of_kind = std::count_if(plan.steps.begin(), plan.steps.end(),
                                     [&](const Step& other) { return stage_kind(other) == kind; });
  return of_kind == 1 ? std::string(kind) : concat(kind, " (", plan.steps[step].id, ")");
}

StageReport planned_stage_report(const ModelFolder& model, const WalkPlan& plan,
                                 std::size_t stage) {
  const LlamaConfig& config = plan.configs[stage];
  StageReport report;
  report.stage = stage == 0 ? "dense" : stage_name(plan, stage - 1);
  report.parameters = total_parameters(config);
  const std::vector<Step> done(plan.steps.begin(),
                               plan.steps.begin() + static_cast<std::ptrdiff_t>(stage));
  std::int64_t matrix_parameters = 0;
  for (const auto& [module, shape] : model_matrices(config)) {
    report.size_bytes += stored_bytes(module, shape, form_of(module, config, done));
    matrix_parameters += shape.out_features * shape.in_features;
  }
  report.flops_per_token = flops_per_token(config);
  report.size_bytes += (report.parameters - matrix_parameters) *
                       static_cast<std::int64_t>(dtype_bytes(model.config().dtype));
  return report;
}

void add_form(TensorReport& report, const StoredForm& form) {
  report.stored_as = form_name(form);
  const auto* const quantized = std::get_if<QuantizedForm>(&form);
  if (quantized == nullptr) return;
  report.bits = quantized->scheme.bits;
  report.group_size = quantized->scheme.group_size;
  report.symmetric = quantized->scheme.symmetry == Symmetry::Symmetric;
  if (quantized->activations != ActivationRounding::None) {
    report.activations = activation_name(quantized->activations);
  }
}

TensorReport planned_tensor_report(const ModelFolder& model, const WalkPlan& plan,
                                   const std::string& module) {
  const MatrixShape before = source_shape(model.config(), plan, module);
  const MatrixShape after = shape_of(plan.output_config(), module);
  const StoredForm& form = plan.forms.at(module);
  TensorReport report;
  report.name = module;
  report.shape_before = {before.out_features, before.in_features};
  report.shape_after = {after.out_features, after.in_features};
  add_form(report, form);
  report.bytes_before = stored_bytes(module, before, FloatForm{model.config().dtype});
  report.bytes_after = stored_bytes(module, after, form);
  const bool is_linear = module != kEmbeddingModule && module != kHeadModule;
  for (const Step& step : plan.steps) {
    const auto* const mask = std::get_if<MaskStep>(&step.action);
    if (mask != nullptr && is_linear && targets(mask->targets, module)) {
      report.sparsity_target = target_sparsity(pattern_of_module(plan, step, module));
    }
  }
  return report;
}

bool WalkPlan::rounds_only() const {
  const auto* const step = step_of<QuantizeStep>(steps);
  return step != nullptr && steps.size() == 1 &&
         calibration_need(step->method) == CalibrationNeed::None;
}

}  // namespace edgecompress
