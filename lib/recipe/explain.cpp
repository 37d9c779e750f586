#include "recipe/explain.h"

#include <algorithm>

#include "base/error.h"
#include "methods/method_names.h"

namespace edgecompress {
namespace {

std::string explain_step(const PruneStep& step, const NamedMatrix& matrix) {
  if (matrix.role != MatrixRole::Block) return {};
  const std::string score(method_name(step.cut.score));
  const bool by_lists = !step.cut.heads_to_prune.empty();
  if (!step.cut.parts && !by_lists) {
    return concat("cut with its block, ", score, " ", 100 * step.cut.ratio, "%");
  }
  const PartShares shares = step.cut.parts.value_or(PartShares{});
  std::string out = by_lists ? "cut with its block, heads as listed"
                             : concat("cut with its block, ", score, ", ", 100 * shares.kv_groups,
                                      "% of the KV groups");
  if (shares.query_heads > 0) {
    out += concat(", ", 100 * shares.query_heads, "% of the query heads in each");
  }
  return out + concat(", ", 100 * shares.channels, "% of the channels");
}

std::string explain_step(const MaskStep& step, const NamedMatrix& matrix) {
  if (matrix.role != MatrixRole::Block || !targets(step.targets, matrix.module)) return {};
  return concat("mask ", method_name(step.method), " ", describe(step.pattern));
}

/// The method that a matrix is rounded by.
std::string rounding_name(const QuantizeStep& step, MatrixRole role) {
  if (role == MatrixRole::Head && step.head_rounding == HeadRounding::Gptq) return "gptq";
  // tables are rounded to nearest by methods that look at a layer's inputs
  const bool knows_inputs = calibration_need(step.method) != CalibrationNeed::None;
  return role != MatrixRole::Block && knows_inputs ? "rtn" : std::string(method_name(step.method));
}

std::string explain_step(const QuantizeStep& step, const NamedMatrix& matrix) {
  if (is_grid_open(step, matrix)) {
    return concat(rounding_name(step, matrix.role), ", on a grid measured for the size target");
  }
  const auto rule = std::find_if(
      step.rules.begin(), step.rules.end(),
      [&](const QuantizeStep::Rule& other) { return targets(other.targets, matrix.module); });
  const std::string origin =
      rule == step.rules.end() ? "" : concat(" (rule ", rule - step.rules.begin() + 1, ")");
  const std::optional<QuantScheme> scheme = scheme_of(step, matrix);
  if (!scheme) return "stays floating" + origin;
  const ActivationRounding activations = activations_of(step, matrix);
  const std::string inputs = activations == ActivationRounding::None
                                 ? std::string()
                                 : concat(", inputs ", activation_name(activations));
  return concat(rounding_name(step, matrix.role), " ", describe(*scheme), inputs, origin);
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
  std::vector<Step> steps = recipe.steps;
  for (Step& step : steps) {
    auto* const quantize = std::get_if<QuantizeStep>(&step.action);
    if (quantize != nullptr) *quantize = with_precision_rule(std::move(*quantize), modules);
  }
  std::vector<ModuleExplanation> out;
  for (const NamedMatrix& matrix : modules) {
    ModuleExplanation explanation{.module = matrix.module, .actions = {}};
    for (const Step& step : steps) {
      const std::string action =
          std::visit([&](const auto& body) { return explain_step(body, matrix); }, step.action);
      if (!action.empty()) explanation.actions.push_back(concat(step.id, ": ", action));
    }
    out.push_back(std::move(explanation));
  }
  return out;
}

}  // namespace edgecompress
