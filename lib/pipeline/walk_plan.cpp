#include "pipeline/walk_plan.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "llama/linear_layers.h"
#include "llama/weight_layout.h"
#include "methods/method_names.h"

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

LlamaConfig with_widths(LlamaConfig config, const CutWidths& widths) {
  for (BlockShape& block : config.blocks) {
    const std::int64_t queries_per_group = block.num_attention_heads / block.num_key_value_heads;
    block = {.num_attention_heads = widths.num_key_value_heads * queries_per_group,
             .num_key_value_heads = widths.num_key_value_heads,
             .intermediate_size = widths.intermediate_size};
  }
  return config;
}

CutWidths widths_of(const PruneStep& step, const LlamaConfig& config,
                    std::int64_t sequence_length) {
  if (!config.is_uniform()) {
    throw Error(ErrorKind::Unsupported, "P-SHAPES",
                "a structured cut needs decoder blocks of equal widths; these differ already");
  }
  const BlockShape& block = config.blocks.front();
  return plan_cut(step.cut, config.hidden_size, config.head_dim, block.num_attention_heads,
                  block.num_key_value_heads, block.intermediate_size, sequence_length);
}

/// A mask's runs must divide the rows they lie in, also after a cut; known before any weight is
/// read.
void refuse_ragged_runs(const MaskStep& step, const LlamaConfig& config) {
  const auto* const pattern = std::get_if<NofM>(&step.pattern);
  if (pattern == nullptr) return;
  for (const LinearKind kind : kLinearKinds) {
    const std::string module = module_name({0, kind});
    const std::int64_t in_features = linear_shape(config, {0, kind}).in_features;
    if (in_features % pattern->of == 0 || !targets(step.targets, module)) continue;
    throw Error(
        ErrorKind::Unsupported, "R18",
        concat("pattern ", describe(step.pattern), " needs in_features to be a multiple of ",
               pattern->of, "; ", module, " has ", in_features));
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
    if (const auto scheme = scheme_of(*quantize, named(module, 0))) return QuantizedForm{*scheme};
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

std::string_view stage_kind(const Step& step) {
  if (std::holds_alternative<PruneStep>(step.action)) return "pruned";
  if (std::holds_alternative<MaskStep>(step.action)) return "masked";
  return "quantized";
}

MatrixShape shape_of(const LlamaConfig& config, const std::string& module) {
  for (const auto& [name, shape] : model_matrices(config)) {
    if (name == module) return shape;
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

}  // namespace

std::int64_t stored_bytes(const std::string& module, MatrixShape shape, const StoredForm& form) {
  std::int64_t bytes = 0;
  for (const TensorHeader& tensor : weight_headers(module, shape, form)) {
    bytes += num_elements(tensor.shape) * static_cast<std::int64_t>(dtype_bytes(tensor.dtype));
  }
  return bytes;
}

WalkPlan plan_walk(const ModelFolder& model, const Recipe& recipe) {
  refuse_foreign_model(model, recipe);
  refuse_quantized_model(model);

  WalkPlan plan;
  plan.warnings = check_targets(recipe, named_matrices(model.config()));
  plan.configs.push_back(model.config());
  const std::int64_t sequence_length =
      recipe.calibration ? recipe.calibration->sequence_length : Calibration{}.sequence_length;
  for (const Step& step : recipe.steps) {
    if (std::holds_alternative<ExportStep>(step.action)) continue;
    LlamaConfig config = plan.output_config();
    with_context(concat("planning step '", step.id, "'"), [&] {
      if (const auto* prune = std::get_if<PruneStep>(&step.action)) {
        const CutWidths widths = widths_of(*prune, config, sequence_length);
        plan.widths.emplace(step.id, widths);
        config = with_widths(std::move(config), widths);
        plan.cut_need = std::max(plan.cut_need, calibration_need(prune->cut));
      } else if (const auto* mask = std::get_if<MaskStep>(&step.action)) {
        refuse_ragged_runs(*mask, config);
        plan.layer_need = std::max(plan.layer_need, calibration_need(mask->method, mask->repair));
      } else if (const auto* quantize = std::get_if<QuantizeStep>(&step.action)) {
        plan.layer_need = std::max(plan.layer_need, calibration_need(quantize->method));
      }
    });
    plan.configs.push_back(std::move(config));
    plan.steps.push_back(step);
  }
  for (const auto& [module, shape] : model_matrices(plan.output_config())) {
    plan.forms.emplace(module, form_of(module, plan.output_config(), plan.steps));
  }
  return plan;
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
  report.size_bytes += (report.parameters - matrix_parameters) *
                       static_cast<std::int64_t>(dtype_bytes(model.config().dtype));
  return report;
}

TensorReport planned_tensor_report(const ModelFolder& model, const WalkPlan& plan,
                                   const std::string& module) {
  const MatrixShape before = shape_of(model.config(), module);
  const MatrixShape after = shape_of(plan.output_config(), module);
  const StoredForm& form = plan.forms.at(module);
  TensorReport report;
  report.name = module;
  report.shape_before = {before.out_features, before.in_features};
  report.shape_after = {after.out_features, after.in_features};
  report.stored_as = form_name(form);
  report.bytes_before = stored_bytes(module, before, FloatForm{model.config().dtype});
  report.bytes_after = stored_bytes(module, after, form);
  if (const auto* quantized = std::get_if<QuantizedForm>(&form)) {
    report.bits = quantized->scheme.bits;
    report.group_size = quantized->scheme.group_size;
    report.symmetric = quantized->scheme.symmetry == Symmetry::Symmetric;
  }
  const bool is_linear = module != kEmbeddingModule && module != kHeadModule;
  for (const Step& step : plan.steps) {
    const auto* const mask = std::get_if<MaskStep>(&step.action);
    if (mask != nullptr && is_linear && targets(mask->targets, module)) {
      report.sparsity_target = target_sparsity(mask->pattern);
    }
  }
  return report;
}

}  // namespace edgecompress
