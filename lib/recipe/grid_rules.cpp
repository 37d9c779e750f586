#include <algorithm>

#include "recipe/recipe.h"

namespace edgecompress {
namespace {

// At either end of the model, as the share of its blocks that llama.cpp's Q4_K_M gives more bits
// at each end (src/llama-quant.cpp, use_more_bits).
constexpr std::size_t kOuterShare = 8;

/// The down projections in the order of their blocks.
std::vector<std::string> down_projections(const std::vector<NamedMatrix>& modules) {
  std::vector<std::string> names;
  for (const NamedMatrix& matrix : modules) {
    if (matrix.role == MatrixRole::Block && matrix.module.ends_with(".down_proj")) {
      names.push_back(matrix.module);
    }
  }
  return names;
}

std::vector<std::string> outer_ones(const std::vector<std::string>& names) {
  const std::size_t at_each_end = (names.size() + kOuterShare - 1) / kOuterShare;
  std::vector<std::string> outer;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i < at_each_end || i + at_each_end >= names.size()) outer.push_back(names[i]);
  }
  return outer;
}

}  // namespace

std::vector<QuantScheme> candidate_schemes(const QuantScheme& weights) {
  std::vector<QuantScheme> candidates{{.bits = 4, .group_size = 128},
                                      {.bits = 4, .group_size = 64},
                                      {.bits = 4, .group_size = 32},
                                      {.bits = 8, .group_size = 128}};
  for (QuantScheme& scheme : candidates) scheme.symmetry = weights.symmetry;
  return candidates;
}

QuantizeStep with_precision_rule(QuantizeStep step, const std::vector<NamedMatrix>& modules) {
  if (step.precision == PrecisionRule::Uniform) return step;
  step.precision = PrecisionRule::Uniform;
  const std::vector<std::string> outer = outer_ones(down_projections(modules));
  if (outer.empty()) return step;
  QuantScheme scheme = step.weights;
  scheme.bits = 8;
  step.rules.push_back({.targets = {.match = outer}, .scheme = scheme, .optional = true});
  return step;
}

bool is_grid_open(const QuantizeStep& step, const NamedMatrix& matrix) {
  return step.size_target && matrix.role == MatrixRole::Block &&
         std::none_of(step.rules.begin(), step.rules.end(), [&](const QuantizeStep::Rule& rule) {
           return targets(rule.targets, matrix.module);
         });
}

}  // namespace edgecompress
