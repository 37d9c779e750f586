#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "recipe/recipe.h"
#include "report/gate.h"

namespace edgecompress::cli {

/// Limits that end the command with exit code 1 when a result misses them; empty: no limit.
struct GateFlags {
  std::string max_perplexity_increase;
  std::string max_size;
  std::string min_sparsity;
  std::string max_kl_divergence;
  std::string min_top1_agreement;
  std::string min_speedup;
  bool gate_before_publish = false;
};

/// Which flags a command takes, by what it measures.
enum class GateScope {
  Scores,  ///< perplexity, KL divergence, top-1: `eval`
  Folder,  ///< also size, sparsity, --gate-before-publish: commands that write
  Run,     ///< also speed: `run`
};
void add_gate_flags(CLI::App& command, GateFlags& flags, GateScope scope);

/// Throws Error{Usage} for a limit that cannot be read.
std::vector<Gate> gates_of(const GateFlags& flags);

/// Adds the flags' gates to a recipe's; a flag replaces the recipe's gate on its metric.
/// Throws Error{Usage} R20 for one that nothing measures.
void add_gates(const GateFlags& flags, Recipe& recipe);

}  // namespace edgecompress::cli
