#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"
#include "methods/method_names.h"
#include "pipeline/grid_survey.h"
#include "pipeline/mask_survey.h"
#include "pipeline/model_survey.h"
#include "prune/structured.h"
#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// A recipe's prune, mask and quantize steps resolved on one model, before any weight is read.
struct WalkPlan {
  std::vector<Step> steps;                  ///< in the recipe's order, without recover and export
  std::vector<std::int64_t> source_blocks;  ///< the model's block that each written one comes from
  std::map<std::string, std::vector<CutWidths>> widths;  ///< of each prune step and written block
  std::map<std::string, MatrixSparsities> sparsities;    ///< of mask steps that spread theirs
  std::vector<PartScores> part_scores;  ///< of the written blocks, when a step cuts by TaylorScore
  std::vector<LlamaConfig> configs;     ///< the model's before the first step and after each
  std::map<std::string, StoredForm, std::less<>> forms;  ///< how each matrix is stored, by module
  CalibrationNeed cut_need = CalibrationNeed::None;      ///< of the prune steps
  CalibrationNeed layer_need = CalibrationNeed::None;    ///< of the mask and quantize steps
  bool cuts_for_dense_outputs = false;     ///< a prune step is repaired towards the dense model
  bool reconstructs_blocks = false;        ///< a step trains the blocks it has cut or masked
  bool masks_for_dense_outputs = false;    ///< a mask step is
  std::int64_t removed_by_perplexity = 0;  ///< blocks that are left out by LayerScore::Perplexity
  bool spreads_by_loss = false;            ///< a mask step spreads its sparsity so
  /// What the survey must send the loss back through the model for; nothing: it need not.
  std::optional<GradientDetail> gradients = {};
  bool needs_survey = false;  ///< the dense model must be seen before all of the above is known
  bool sizes_need_survey = false;  ///< and the shapes above are those of an equal share until then
  /// Modules whose grid is measured, of groups that a size target decides on.
  std::set<std::string, std::less<>> measured_grids;
  std::vector<std::string> warnings;

  const LlamaConfig& output_config() const { return configs.back(); }
  bool needs_calibration() const { return std::max(cut_need, layer_need) > CalibrationNeed::None; }
  bool needs_hessians() const { return std::max(cut_need, layer_need) >= CalibrationNeed::Hessian; }
  bool follows_dense() const {
    return cuts_for_dense_outputs || masks_for_dense_outputs || reconstructs_blocks;
  }
  bool measures_grids() const { return !measured_grids.empty(); }
  bool measures_divergence() const;  ///< and does so in KL divergence
  /// Whether weights go to a grid without calibration and nothing is done before: then matrices are
  /// rounded some rows at a time, unless a text is scored.
  bool rounds_only() const;
  bool needs_text() const {
    return needs_survey || removed_by_perplexity > 0 || measures_grids() || needs_calibration();
  }
};

/// What was measured of the dense model before the walk. A list is empty until it was.
struct ModelSurvey {
  std::vector<std::int64_t> removed = {};  ///< of blocks_to_remove()
  std::vector<BlockSurvey> blocks = {};
  std::vector<BlockGridErrors> grid_errors =
      {};  ///< of the candidate_schemes() of the quantize step
  std::map<std::string, MatrixSparsities> sparsities = {};  ///< of the mask steps that ask, by id
};

/// Throws Error{Usage} or Error{Unsupported} for everything that can be refused without reading a
/// weight: patterns that match nothing, a cut that cannot be made, a model that is already
/// quantized.
///
/// survey: decisions that need what it lacks are filled in as if all blocks were alike;
/// needs_survey and measured_grids say that there are some.
WalkPlan plan_walk(const ModelFolder& model, const Recipe& recipe, const ModelSurvey& survey = {});

/// The pattern of a mask step in one of the written linear layers.
SparsityPattern pattern_of_module(const WalkPlan& plan, const Step& step,
                                  const std::string& module);

/// Whether a step works on the linear layers of a block one by one.
bool is_layer_step(const Step& step);

/// "pruned", "masked" or "quantized"; with the step's id behind it when the recipe has several of
/// that kind.
std::string stage_name(const WalkPlan& plan, std::size_t step);

/// The parts of a stage's report that the plan knows: name, parameters and bytes. stage 0 is the
/// dense model, stage i + 1 the model after step i.
StageReport planned_stage_report(const ModelFolder& model, const WalkPlan& plan, std::size_t stage);

/// The parts of a tensor's report that the plan knows: shapes, form, target, bytes.
TensorReport planned_tensor_report(const ModelFolder& model, const WalkPlan& plan,
                                   const std::string& module);

/// Adds how a matrix is stored: its type, and its grid when quantized.
void add_form(TensorReport& report, const StoredForm& form);

/// Bytes of a module's weight as CheckpointWriter stores it: values, or codes, scales and zero
/// points.
std::int64_t stored_bytes(const std::string& module, MatrixShape shape, const StoredForm& form);

}  // namespace edgecompress
