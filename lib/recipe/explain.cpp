#include "recipe/explain.h"

#include <algorithm>

#include "base/error.h"
#include "methods/method_names.h"

namespace edgecompress {
namespace {

std::string explain_step(const PruneStep& step, const NamedMatrix& matrix) {
  if (matrix.role != MatrixRole::Block) return {};
  const std::string score(method_name(step.cut.score));
  if (!step.cut.parts) {
    return concat("cut with its block, ", score, " ", 100 * step.cut.ratio, "%");
  }
  return concat("cut with its block, ", score, ", ", 100 * step.cut.parts->kv_groups,
                "% of the heads, ", 100 * step.cut.parts->channels, "% of the channels");
}

std::string explain_step(const MaskStep& step, const NamedMatrix& matrix) {
  if (matrix.role != MatrixRole::Block || !targets(step.targets, matrix.module)) return {};
  return concat("mask ", method_name(step.method), " ", describe(step.pattern));
}

std::string explain_step(const QuantizeStep& step, const NamedMatrix& matrix) {
  const auto rule = std::find_if(
      step.rules.begin(), step.rules.end(),
      [&](const QuantizeStep::Rule& other) { return targets(other.targets, matrix.module); });
  const std::string origin =
      rule == step.rules.end() ? "" : concat(" (rule ", rule - step.rules.begin() + 1, ")");
  const std::optional<QuantScheme> scheme = scheme_of(step, matrix);
  if (!scheme) return "stays floating" + origin;
  // tables are rounded to nearest by methods that look at a layer's inputs
  const bool knows_inputs = calibration_need(step.method) != CalibrationNeed::None;
  const std::string method = matrix.role != MatrixRole::Block && knows_inputs
                                 ? std::string("rtn")
                                 : std::string(method_name(step.method));
  const ActivationRounding activations = activations_of(step, matrix);
  const std::string inputs = activations == ActivationRounding::None
                                 ? std::string()
                                 : concat(", inputs ", activation_name(activations));
  return concat(method, " ", describe(*scheme), inputs, origin);
}

std::string explain_step(const RecoverStep&, const NamedMatrix&) {
  return "trained, with its zeros and codes as the step says";
}

std::string explain_step(const DropLayersStep&, const NamedMatrix&) { return {}; }

std::string explain_step(const ExportStep&, const NamedMatrix&) { return {}; }

}  // namespace

std::string describe(const QuantScheme& scheme) {
  const std::string groups =
      scheme.group_size == 0 ? " per channel" : concat(" groups of ", scheme.group_size);
  return concat("int", scheme.bits, groups,
                scheme.symmetry == Symmetry::Asymmetric ? ", asymmetric" : "");
}

std::vector<ModuleExplanation> explain_recipe(const Recipe& recipe,
                                              const std::vector<NamedMatrix>& modules) {
  std::vector<ModuleExplanation> out;
  for (const NamedMatrix& matrix : modules) {
    ModuleExplanation explanation{.module = matrix.module, .actions = {}};
    for (const Step& step : recipe.steps) {
      const std::string action =
          std::visit([&](const auto& body) { return explain_step(body, matrix); }, step.action);
      if (!action.empty()) explanation.actions.push_back(concat(step.id, ": ", action));
    }
    out.push_back(std::move(explanation));
  }
  return out;
}

}  // namespace edgecompress
