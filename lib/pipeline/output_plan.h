#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "onnx_export/export_model.h"
#include "pipeline/memory_need.h"
#include "pipeline/run_options.h"
#include "pipeline/walk_plan.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// What will become of one matrix.
struct PlannedTensor {
  std::string module;
  std::vector<std::string> actions;  ///< of the steps that touch it
  MatrixShape shape_before;
  MatrixShape shape_after;
  std::string stored_as;
  std::int64_t bytes_before = 0;
  std::int64_t bytes_after = 0;
};

/// What a recipe will do to a model, from config and headers alone.
struct OutputPlan {
  std::string model;
  std::string recipe;
  std::int64_t parameters_before = 0;
  std::int64_t parameters_after = 0;
  std::int64_t bytes_before = 0;
  std::int64_t checkpoint_bytes = 0;      ///< weights of the compressed folder, exact
  std::optional<ArtifactSizes> artifact;  ///< exact; absent without an export step
  MemoryNeed memory;                      ///< an estimate
  std::uint64_t states_in_memory = 0;     ///< bytes of hidden states within the budget
  std::int64_t peak_disk_bytes = 0;       ///< while the run lasts, temporary files included
  std::vector<PlannedTensor> tensors;
  std::vector<std::string> warnings;

  /// What the run's report will say under totals.bytes_after.
  std::int64_t output_bytes() const;
  std::int64_t peak_memory_bytes() const;
};

/// Reads headers, norms and biases of the model only. Throws as plan_walk and export_onnx do before
/// a weight is read, and Error{Unsupported} C16 for a grid that cannot be stored.
OutputPlan plan_output(const ModelFolder& model, const Recipe& recipe, const RunOptions& options);

/// Schema edgecompress.plan/v1.
nlohmann::ordered_json plan_json(const OutputPlan& plan);
/// For the terminal. tensors: whether every matrix has a line.
enum class PlanDetail { Totals, Tensors };
std::string plan_table(const OutputPlan& plan, PlanDetail detail);

}  // namespace edgecompress
