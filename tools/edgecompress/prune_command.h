#pragma once

#include <optional>
#include <string>
#include <vector>

#include "edgecompress/gate_flags.h"
#include "edgecompress/shared_options.h"
#include "recipe/recipe.h"

namespace edgecompress::cli {

struct PruneOptions {
  OutputFlags output;
  ComputeFlags compute;
  CalibrationFlags calibration;
  ScoreFlags score_text;
  GateFlags gates;
  std::int64_t drop_layers = 0;              ///< 0: none
  std::string drop_score = "influence";      ///< of drop_layers
  std::vector<std::int64_t> dropped_layers;  ///< by index
  std::string allocation = "uniform";
  std::int64_t protect_first = 0;
  std::int64_t protect_last = 0;
  std::string ratio;                    ///< empty: no structured cut
  std::string heads;                    ///< empty: as the ratio says
  std::string query_heads;              ///< the same, inside KV groups
  std::string channels;                 ///< the same
  std::vector<std::string> head_lists;  ///< "BLOCK:HEAD,HEAD"
  std::string target = "parameters";
  std::string score = "activation";
  std::uint64_t seed = 0;
  std::string repair;  ///< empty: the score's own
  std::optional<std::int64_t> repair_epochs;
  std::optional<double> repair_learning_rate;
  std::int64_t channel_multiple = 32;
  std::string mask_pattern;  ///< empty: no mask
  std::string mask_sparsity = "50%";
  std::string mask_method = "magnitude";
  std::string mask_repair = "none";
  std::optional<std::int64_t> mask_repair_epochs;
  std::optional<double> mask_repair_learning_rate;
  std::string mask_allocation = "uniform";
  std::vector<std::string> mask_targets;
};

CLI::App* add_prune(CLI::App& app, PruneOptions& options);

/// The steps these flags ask for. Throws Error{Usage}.
Recipe prune_recipe(const PruneOptions& options);

}  // namespace edgecompress::cli
