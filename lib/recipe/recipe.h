#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "methods/mask_method.h"
#include "methods/quantize_method.h"
#include "methods/reconstruction_options.h"
#include "methods/structured_method.h"
#include "methods/training_options.h"
#include "report/gate.h"
#include "weights/activation_rounding.h"
#include "weights/quant_scheme.h"
#include "weights/sparsity_pattern.h"

namespace edgecompress {

/// Which tensors a step touches: globs on module names ("*.mlp.*": * any run of characters, ? any
/// one, {a,b} either), or "re:" and a PCRE2 pattern that must match whole.
struct TargetPatterns {
  std::vector<std::string> match;        ///< each must match at least one module
  std::vector<std::string> except = {};  ///< the same
};

/// Cuts KV groups and FFN channels.
struct PruneStep {
  StructuredCut cut;
};

/// Leaves whole decoder blocks out.
struct DropLayersStep {
  std::vector<std::int64_t> layers;          ///< which, ascending; empty: chosen
  std::int64_t count = 0;                    ///< so many, those worth the least
  LayerScore score = LayerScore::Influence;  ///< with count
};

/// Lays a mask over what is left.
struct MaskStep {
  MaskMethod method;
  SparsityPattern pattern;
  MaskRepair repair = MaskRepair::None;
  ReconstructionOptions reconstruction = {};  ///< with MaskRepair::Reconstruction
  MaskAllocation allocation = MaskAllocation::Uniform;
  double spread = 0.08;  ///< of MaskAllocation::Outliers: most and fewest are 2 * spread apart
  TargetPatterns targets{.match = {"*"}};  ///< of the decoder blocks' linear layers
};

/// Which layers get more bits than the others without being named.
enum class PrecisionRule {
  Uniform,    ///< none
  OuterDown,  ///< 8 bits for down_proj of the first and the last eighth of the decoder blocks, and
              ///< for the head: the layers that 4 bits hurt most where nothing is measured
};

/// The artifact's files must not take more bytes. Without an export step: those of the genai
/// artifact that could be made.
struct TotalBytes {
  std::int64_t bytes = 0;
};
/// What the decoder blocks' linear layers take in an artifact, scales and zero points included,
/// divided by their weights.
struct BitsPerWeight {
  double bits = 0;
};
using SizeTarget = std::variant<TotalBytes, BitsPerWeight>;

/// What rounding a group of layers alone is measured by, for a size target.
enum class GridSensitivity {
  HiddenStates,  ///< the change of the states behind its block, as a share of their energy
  Divergence,    ///< KL of the dense model's predictions to the model's with this group rounded
};

/// How a quantized head is rounded that is not tied to the embedding.
enum class HeadRounding {
  Nearest,
  Gptq,  ///< on the second moments of the final hidden states
};

/// The grid of the embedding and the head when a recipe names none.
inline constexpr QuantScheme kTableScheme{.bits = 8};

/// Puts weights on the integer grid. Rules: the first that matches a module wins.
struct QuantizeStep {
  struct Rule {
    TargetPatterns targets;
    std::optional<QuantScheme> scheme;  ///< nothing: the module stays as it is
    bool optional = false;              ///< may match nothing
  };
  QuantizeMethod method;
  QuantScheme weights{.bits = 4, .group_size = 64};
  std::optional<QuantScheme> embedding = kTableScheme;  ///< nothing: stays floating
  std::optional<QuantScheme> head = kTableScheme;
  std::vector<Rule> rules = {};
  PrecisionRule precision = PrecisionRule::Uniform;
  /// The grids of the blocks' layers that no rule names are chosen among candidate_schemes(), by
  /// measured error, to keep within it.
  std::optional<SizeTarget> size_target = {};
  GridSensitivity sensitivity = GridSensitivity::HiddenStates;  ///< with size_target
  HeadRounding head_rounding = HeadRounding::Nearest;
  /// How the quantized layers of the decoder blocks round their inputs: None or Int8PerToken.
  ActivationRounding activations = ActivationRounding::None;
};

/// Text that a model is trained on.
struct TrainingText {
  std::filesystem::path text;
  std::optional<std::int64_t> samples = {};  ///< windows, spread over the text; nothing: all
  std::int64_t sequence_length = 512;        ///< tokens of a window
};

/// Trains what the steps before made, with the recipe's source model as the teacher.
struct RecoverStep {
  TrainingText text;
  TrainingChoice choice = {};
  /// Only when the perplexity on the held-out windows is higher than the teacher's by more than
  /// this share; nothing: always.
  std::optional<double> gate = {};
};

/// What `qat: auto` waits for.
inline constexpr double kDefaultRecoveryGate = 0.01;

enum class ExportFormat { Genai, Onnx, GenaiSparse, OnnxSparse };

constexpr bool is_sparse(ExportFormat format) {
  return format == ExportFormat::GenaiSparse || format == ExportFormat::OnnxSparse;
}
constexpr bool is_genai(ExportFormat format) {
  return format == ExportFormat::Genai || format == ExportFormat::GenaiSparse;
}

struct ExportStep {
  ExportFormat format = ExportFormat::Genai;
  int accuracy_level = 4;
  std::optional<double> sparse_from = {};  ///< of a sparse format: share a form must leave out
  std::int64_t scale_bits = 32;            ///< of a sparse format: 32 or 16
  std::int64_t context_length = 0;         ///< 0: the model's own
  /// How products with 8-bit weights round their inputs; nothing: as the model says.
  std::optional<ActivationRounding> activations = {};
};

struct Step {
  std::string id;
  std::variant<PruneStep, MaskStep, QuantizeStep, RecoverStep, ExportStep, DropLayersStep> action;
};

struct Calibration {
  std::filesystem::path text;  ///< resolved against the recipe's folder
  std::optional<std::string> sha256 = {};
  std::int64_t samples = 128;
  std::int64_t sequence_length = 512;
};

/// A file and the SHA-256 of its bytes.
struct LockedFile {
  std::string file;  ///< of a model: its name; of a text: relative to the recipe
  std::string sha256;
};

/// What a recipe ran with when it was locked.
struct RecipeLock {
  std::string edgecompress;  ///< version
  std::vector<LockedFile> model;
  std::vector<LockedFile> texts;
};

struct RecipeDocument;

struct Evaluation {
  std::filesystem::path text;
  std::string protocol = "gptq-2048";  ///< the only one so far
  std::int64_t window = 2048;          ///< tokens; papers use 2048
  std::optional<std::int64_t> max_windows = {};
};

/// Exactly what a recipe file says, checked against the language alone (no model).
struct Recipe {
  std::string name;
  std::string description;
  std::vector<std::string> model_types = {};  ///< guard; empty: any
  std::uint64_t seed = 0;
  std::optional<Calibration> calibration = {};
  std::vector<Step> steps = {};
  std::optional<Evaluation> evaluation = {};
  std::vector<Gate> gates = {};
  std::optional<RecipeLock> lock = {};
  std::filesystem::path source_path;
  std::string
      source_text;  ///< the file's bytes; with bases, variables or --set the recipe they make
  std::shared_ptr<const RecipeDocument> document = {};  ///< the parts; nothing without a file
};

/// Reads a *.ec.yaml recipe. The language: docs/recipe-format.md.
/// Throws Error{Missing} (R1) when there is no such file;
///        Error{Usage} that lists up to 20 problems, each with file:line:col, excerpt and caret.
///        Its code is the first problem's; its text starts without "error[code]: ", which whoever
///        prints an Error puts in front.
/// overrides: --set flags, "path=value", applied in this order.
Recipe read_recipe(const std::filesystem::path& path,
                   const std::vector<std::string>& overrides = {});
/// The same for text. path: named in errors; bases and texts are resolved against its folder.
/// Reads no file but the bases.
Recipe parse_recipe(const std::string& text, const std::filesystem::path& path,
                    const std::vector<std::string>& overrides = {});

/// What keeps a gate's metric from being measured when the recipe runs, for example "needs
/// `evaluate`"; empty when nothing does.
std::string gate_complaint(const Recipe& recipe, const Gate& gate);

/// Refuses a recipe whose calibration or evaluation text is missing, empty, not UTF-8 or not the
/// one with its sha256. Throws Error{Missing} or Error{Usage}, R19.
void check_texts(const Recipe& recipe);

/// The first step of that kind, or nullptr.
template <typename Action>
const Action* step_of(const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    if (const auto* const action = std::get_if<Action>(&step.action)) return action;
  }
  return nullptr;
}

/// True when some pattern of `match` and none of `except` matches the module.
bool targets(const TargetPatterns& patterns, const std::string& module);

enum class MatrixRole { Block, Embedding, Head };

/// A matrix of the model that a recipe is to be used on.
struct NamedMatrix {
  std::string module;
  std::int64_t in_features = 0;
  MatrixRole role = MatrixRole::Block;
};

/// The grids that a size target chooses among, with as many zero points as `weights`.
std::vector<QuantScheme> candidate_schemes(const QuantScheme& weights);

/// The step with its precision rule spelled out as rules behind its own. modules: every matrix of
/// the model, decoder blocks in order.
QuantizeStep with_precision_rule(QuantizeStep step, const std::vector<NamedMatrix>& modules);

/// Whether a size target decides on the matrix's grid.
bool is_grid_open(const QuantizeStep& step, const NamedMatrix& matrix);

/// How a matrix rounds its inputs that a quantize step puts on a grid.
ActivationRounding activations_of(const QuantizeStep& step, const NamedMatrix& matrix);

/// The grid a quantize step gives a matrix: of the first rule that matches, else of the step for
/// the matrix's role. Nothing when the matrix stays floating.
std::optional<QuantScheme> scheme_of(const QuantizeStep& step, const NamedMatrix& matrix);

/// Refuses a recipe whose patterns do not fit a model: a pattern that matches no module (R15)
/// unless its rule is optional, a mask step that masks nothing (R15), a regular expression that
/// takes too long (R16), an N:M run that does not divide a row (R18).
///
/// modules: every matrix of the source model. When the recipe cuts, sizes are not looked at: they
/// are not known yet. Returns  warnings: a rule fully behind earlier ones (R15), a group size that
/// leaves a short last group (R18).
std::vector<std::string> check_targets(const Recipe& recipe,
                                       const std::vector<NamedMatrix>& modules);

}  // namespace edgecompress
