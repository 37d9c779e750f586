#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "methods/mask_method.h"
#include "methods/quantize_method.h"
#include "methods/structured_method.h"
#include "weights/quant_scheme.h"
#include "weights/sparsity_pattern.h"

namespace edgecompress {

/// Which tensors a step touches: globs on module names ("*.mlp.*"), or "re:" and a PCRE2 pattern that must match whole.
struct TargetPatterns {
  std::vector<std::string> match;   ///< each must match at least one module
  std::vector<std::string> except;
};

/// Cuts KV groups and FFN channels.
struct PruneStep {
  StructuredCut cut;
};

/// Lays a mask over what is left.
struct MaskStep {
  MaskMethod method;
  SparsityPattern pattern;
  TargetPatterns targets;  ///< of the decoder blocks' linear layers
};

/// Puts weights on the integer grid. Rules: the first that matches a module wins.
struct QuantizeStep {
  struct Rule {
    TargetPatterns targets;
    std::optional<QuantScheme> scheme;  ///< nothing: the module stays as it is
    bool optional = false;              ///< may match nothing
  };
  QuantizeMethod method;
  QuantScheme weights{.bits = 4, .group_size = 64};
  std::optional<QuantScheme> embedding = QuantScheme{.bits = 8};  ///< nothing: stays floating
  std::optional<QuantScheme> head = QuantScheme{.bits = 8};
  std::vector<Rule> rules;
};

enum class ExportFormat { Genai, Onnx };

struct ExportStep {
  ExportFormat format = ExportFormat::Genai;
  int accuracy_level = 4;
  std::int64_t context_length = 0;  ///< 0: the model's own
};

struct Step {
  std::string id;
  std::variant<PruneStep, MaskStep, QuantizeStep, ExportStep> action;
};

struct Calibration {
  std::filesystem::path text;  ///< resolved against the recipe's folder
  std::optional<std::string> sha256;
  std::int64_t samples = 128;
  std::int64_t sequence_length = 512;
};

struct Evaluation {
  std::filesystem::path text;
  std::string protocol = "gptq-2048";
  std::int64_t window = 512;
  std::optional<std::int64_t> max_windows;
};

/// Exactly what a recipe file says, checked against the language alone (no model).
struct Recipe {
  std::string name;
  std::string description;
  std::vector<std::string> model_types;  ///< guard; empty: any
  std::uint64_t seed = 0;
  std::optional<Calibration> calibration;
  std::vector<Step> steps;
  std::optional<Evaluation> evaluation;
  std::string source_text;  ///< the file's bytes
};

/// Reads a *.ec.yaml recipe. The language: docs/recipe-format.md.
/// Throws Error{Usage} that lists up to 20 problems, each with file:line:col, excerpt and caret.
Recipe read_recipe(const std::filesystem::path& path);
Recipe parse_recipe(const std::string& text, const std::filesystem::path& path);

/// True when some pattern of `match` and none of `except` matches the module.
bool targets(const TargetPatterns& patterns, const std::string& module);

/// Refuses a recipe whose patterns do not fit a model: a pattern that matches no module, a group size that does not
/// divide a row, a rule fully behind an earlier one. modules: name and in_features of every matrix.
struct NamedMatrix {
  std::string module;
  std::int64_t in_features;
};
void check_targets(const Recipe& recipe, const std::vector<NamedMatrix>& modules);

}  // namespace edgecompress
