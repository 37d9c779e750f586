#include "pipeline/output_plan.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/memory_budget.h"
#include "llama/hollow_model.h"
#include "pipeline/export_run.h"
#include "recipe/explain.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

std::string form_name(const StoredForm& form) {
  if (const auto* floats = std::get_if<FloatForm>(&form)) {
    return std::string(dtype_name(floats->dtype));
  }
  const auto& quantized = std::get<QuantizedForm>(form);
  const bool rounds = quantized.activations != ActivationRounding::None;
  return concat(describe(quantized.scheme), rounds ? ", inputs " : "",
                rounds ? activation_name(quantized.activations) : "");
}

std::vector<PlannedTensor> planned_tensors(const ModelFolder& model, const WalkPlan& plan,
                                           const Recipe& recipe) {
  const auto matrices = model_matrices(plan.output_config());
  std::vector<NamedMatrix> named;
  for (const auto& [module, shape] : matrices) {
    const MatrixRole role = module == kEmbeddingModule ? MatrixRole::Embedding
                            : module == kHeadModule    ? MatrixRole::Head
                                                       : MatrixRole::Block;
    named.push_back({.module = module, .in_features = shape.in_features, .role = role});
  }
  const std::vector<ModuleExplanation> explained = explain_recipe(recipe, named);
  std::vector<PlannedTensor> tensors;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const std::string& module = matrices[i].first;
    const TensorReport report = planned_tensor_report(model, plan, module);
    tensors.push_back({.module = module,
                       .actions = explained[i].actions,
                       .shape_before = {report.shape_before[0], report.shape_before[1]},
                       .shape_after = matrices[i].second,
                       .stored_as = plan.measured_grids.contains(module)
                                        ? "measured"
                                        : form_name(plan.forms.at(module)),
                       .bytes_before = report.bytes_before,
                       .bytes_after = report.bytes_after});
  }
  return tensors;
}

std::string widths_text(MatrixShape shape) {
  return concat(shape.out_features, " x ", shape.in_features);
}

std::string padded(const std::string& text, std::size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

std::string tensor_lines(const OutputPlan& plan) {
  std::string out;
  for (const PlannedTensor& tensor : plan.tensors) {
    const bool cut = !(tensor.shape_before == tensor.shape_after);
    out += padded(tensor.module, 38) +
           padded(widths_text(tensor.shape_before) +
                      (cut ? " -> " + widths_text(tensor.shape_after) : ""),
                  26) +
           padded(tensor.stored_as, 26) + size_text(tensor.bytes_after) + "\n";
    for (const std::string& action : tensor.actions) out += "    " + action + "\n";
  }
  return out;
}

}  // namespace

std::int64_t OutputPlan::output_bytes() const {
  return artifact ? static_cast<std::int64_t>(artifact->total()) : checkpoint_bytes;
}

std::int64_t OutputPlan::peak_memory_bytes() const {
  return static_cast<std::int64_t>(memory.least() + states_in_memory);
}

OutputPlan plan_output(const ModelFolder& model, const Recipe& recipe, const RunOptions& options) {
  const WalkPlan walk = plan_walk(model, recipe);
  OutputPlan plan;
  plan.model = std::filesystem::canonical(model.path()).filename().string();
  plan.recipe = recipe.name;
  plan.parameters_before = total_parameters(model.config());
  plan.parameters_after = total_parameters(walk.output_config());
  plan.bytes_before = static_cast<std::int64_t>(model.store().total_bytes());
  plan.tensors = planned_tensors(model, walk, recipe);
  const std::uint64_t budget =
      options.memory_budget > 0 ? options.memory_budget : default_memory_budget();
  plan.memory = memory_need(walk, expected_text_sizes(walk, recipe));
  if (const auto* const recovery = step_of<RecoverStep>(recipe.steps)) {
    add_training_need(plan.memory, walk, *recovery, expected_training_size(*recovery));
  }
  const std::uint64_t left = budget - std::min(budget, plan.memory.least());
  plan.states_in_memory = std::min(plan.memory.states, left);
  plan.warnings = walk.warnings;
  if (walk.sizes_need_survey) {
    plan.warnings.push_back(
        "what is cut of which layer is decided on the calibration text; the sizes are those of an "
        "equal share of every layer");
  }

  if (walk.measures_grids()) {
    plan.warnings.push_back(
        "the grids of the decoder blocks' layers are measured on the calibration text; the sizes "
        "are within the target, but those that layers of equal sensitivity would have");
  }

  const HeadValues head = head_values(model);
  const HollowModel compressed(walk.output_config(), walk.forms, head, model.path());
  plan.checkpoint_bytes = static_cast<std::int64_t>(compressed.folder().store().total_bytes());
  plan.peak_disk_bytes =
      plan.checkpoint_bytes + static_cast<std::int64_t>(plan.memory.states - plan.states_in_memory);
  const auto* const step = step_of<ExportStep>(recipe.steps);
  if (step == nullptr) return plan;
  ExportOptions exporting = export_options(*step, options.compute.num_threads);
  if (exporting.sparse) {
    exporting.sparse.reset();  // which matrices are sparse shows when their zeros are counted
    plan.warnings.push_back(
        "the artifact's size is that of the dense format; sparse matrices will make it smaller");
  }
  plan.artifact = plan_onnx(compressed.folder(), exporting);
  plan.warnings.insert(plan.warnings.end(), plan.artifact->warnings.begin(),
                       plan.artifact->warnings.end());
  plan.peak_disk_bytes += static_cast<std::int64_t>(plan.artifact->total());
  if (options.speed_test == SpeedTest::Run) {  // the dense model is exported to be timed
    exporting.activations.reset();
    const HollowModel dense(model.config(), float_forms(model.config()), head, model.path());
    plan.peak_disk_bytes += static_cast<std::int64_t>(plan_onnx(dense.folder(), exporting).total());
  }
  return plan;
}

Json plan_json(const OutputPlan& plan) {
  Json out{{"schema", "edgecompress.plan/v1"},
           {"model", plan.model},
           {"recipe", plan.recipe},
           {"parameters_before", plan.parameters_before},
           {"parameters_after", plan.parameters_after},
           {"bytes_before", plan.bytes_before},
           {"bytes_after", plan.output_bytes()},
           {"checkpoint_bytes", plan.checkpoint_bytes}};
  if (plan.artifact) {
    out["artifact"] = {{"data_bytes", plan.artifact->data_bytes},
                       {"graph_bytes", plan.artifact->graph_bytes},
                       {"other_bytes", plan.artifact->other_bytes}};
  }
  out["peak_memory_bytes"] = plan.peak_memory_bytes();
  out["memory"] = {
      {"program_bytes", plan.memory.program},         {"blocks_bytes", plan.memory.blocks},
      {"tables_bytes", plan.memory.tables},           {"hessians_bytes", plan.memory.hessians},
      {"hidden_states_bytes", plan.states_in_memory}, {"forward_bytes", plan.memory.forward},
      {"training_bytes", plan.memory.training}};
  out["peak_disk_bytes"] = plan.peak_disk_bytes;
  out["tensors"] = Json::array();
  for (const PlannedTensor& tensor : plan.tensors) {
    out["tensors"].push_back(
        {{"name", tensor.module},
         {"actions", tensor.actions},
         {"shape_before", {tensor.shape_before.out_features, tensor.shape_before.in_features}},
         {"shape_after", {tensor.shape_after.out_features, tensor.shape_after.in_features}},
         {"stored_as", tensor.stored_as},
         {"bytes_before", tensor.bytes_before},
         {"bytes_after", tensor.bytes_after}});
  }
  out["warnings"] = plan.warnings;
  return out;
}

std::string plan_table(const OutputPlan& plan, PlanDetail detail) {
  std::string out = detail == PlanDetail::Tensors ? tensor_lines(plan) + "\n" : "";
  out += concat("model       ", plan.model, "  ", count_text(plan.parameters_before),
                " parameters, ", size_text(plan.bytes_before), "\n");
  out += concat("after       ", count_text(plan.parameters_after), " parameters\n");
  out += concat("checkpoint  ", size_text(plan.checkpoint_bytes), "  (", plan.checkpoint_bytes,
                " bytes)\n");
  if (plan.artifact) {
    out += concat("artifact    ", size_text(plan.output_bytes()), "  (", plan.output_bytes(),
                  " bytes: data ", plan.artifact->data_bytes, ", graph ",
                  plan.artifact->graph_bytes, ", other files ", plan.artifact->other_bytes, ")\n");
  }
  out += concat("peak disk   ", size_text(plan.peak_disk_bytes), "  temporary files included\n");
  out += concat("peak memory ", size_text(plan.peak_memory_bytes()), "  estimated\n");
  for (const std::string& warning : plan.warnings) out += concat("warning     ", warning, "\n");
  return out;
}

}  // namespace edgecompress
