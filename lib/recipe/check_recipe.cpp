#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/suggest.h"
#include "recipe/document.h"
#include "recipe/node.h"
#include "recipe/problems.h"
#include "recipe/recipe.h"
#include "recipe/target_patterns.h"
#include "recipe/utf8.h"

namespace edgecompress {
namespace {

/// Where something stands in the recipe's file; the file's start for a recipe that was not read
/// from one.
class Places {
 public:
  explicit Places(const Recipe& recipe) : document_(recipe.document) {
    if (document_ == nullptr) {
      problems_.add_source("", "");
      return;
    }
    for (const RecipeSource& source : document_->sources) {
      problems_.add_source(source.name, source.text);
    }
  }

  /// The body of a step.
  const YamlNode& step(std::size_t index, std::string_view action) const {
    return child(item(child(root(), "steps"), index), action);
  }
  const YamlNode& rule(std::size_t step_index, std::size_t index) const {
    return item(child(step(step_index, "quantize"), "rules"), index);
  }
  /// One pattern of a list, or the text that stands for the list.
  SourceSpan pattern(const YamlNode& body, std::string_view key, std::size_t index) const {
    const YamlNode& value = child(body, key);
    return value.kind == YamlNode::Kind::List ? item(value, index).at : value.at;
  }
  std::string file(const SourceSpan& at) const {
    return document_ == nullptr ? "" : document_->sources[at.source].name;
  }
  Problems& problems() { return problems_; }

 private:
  const YamlNode& child(const YamlNode& node, std::string_view key) const {
    const YamlNode* const value = node.find(key);
    return value == nullptr ? nothing_ : *value;
  }
  const YamlNode& item(const YamlNode& node, std::size_t index) const {
    return index < node.items.size() ? node.items[index] : nothing_;
  }

  const YamlNode& root() const { return document_ == nullptr ? nothing_ : document_->root; }

  std::shared_ptr<const RecipeDocument> document_;
  Problems problems_;
  YamlNode nothing_;
};

class TargetCheck {
 public:
  TargetCheck(const Recipe& recipe, const std::vector<NamedMatrix>& modules)
      : recipe_(recipe), modules_(modules), places_(recipe) {
    for (const Step& step : recipe.steps)
      cuts_ = cuts_ || std::holds_alternative<PruneStep>(step.action);
  }

  std::vector<std::string> run() {
    for (std::size_t i = 0; i < recipe_.steps.size(); ++i) {
      const Step& step = recipe_.steps[i];
      if (const auto* mask = std::get_if<MaskStep>(&step.action)) check_mask(*mask, i);
      if (const auto* quantize = std::get_if<QuantizeStep>(&step.action))
        check_quantize(*quantize, i);
    }
    places_.problems().fail_if_any();
    return std::move(warnings_);
  }

 private:
  void warn(const SourceSpan& at, std::string_view code, const std::string& text) {
    const std::string file = places_.file(at);
    const std::string place =
        file.empty() ? "" : concat(" (", file, ":", at.line, ":", at.column, ")");
    warnings_.push_back(concat(code, ": ", text, place));
  }

  std::string help_for(const std::string& pattern) const {
    const auto matches_something = [&](const std::string& other) {
      return target_pattern_complaint(other).empty() &&
             std::any_of(modules_.begin(), modules_.end(), [&](const NamedMatrix& matrix) {
               return pattern_matches(other, matrix.module);
             });
    };
    if (!pattern.starts_with("re:")) {
      for (const std::string& other : {pattern + "*", "*" + pattern, "*" + pattern + "*"}) {
        if (matches_something(other)) return concat("did you mean `", other, "`?");
      }
    }
    std::vector<std::pair<std::size_t, std::string>> near;
    for (const NamedMatrix& matrix : modules_)
      near.emplace_back(edit_distance(pattern, matrix.module), matrix.module);
    std::sort(near.begin(), near.end());
    std::vector<std::string> names;
    for (std::size_t i = 0; i < std::min<std::size_t>(near.size(), 3); ++i)
      names.push_back(near[i].second);
    return concat("nearest modules: ", joined(names));
  }

  void check_patterns(const std::vector<std::string>& patterns, const YamlNode& body,
                      std::string_view key) {
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      const bool found = std::any_of(
          modules_.begin(), modules_.end(),
          [&](const NamedMatrix& matrix) { return pattern_matches(patterns[i], matrix.module); });
      if (found) continue;
      places_.problems().add(
          {"R15",
           concat("pattern ", backquoted(patterns[i]), " matches no module of the model"),
           places_.pattern(body, key, i),
           {},
           {help_for(patterns[i])}});
    }
  }

  void check_mask(const MaskStep& step, std::size_t index) {
    const YamlNode& body = places_.step(index, "mask");
    check_patterns(step.targets.match, body, "targets");
    check_patterns(step.targets.except, body, "except");
    std::size_t num_masked = 0;
    for (const NamedMatrix& matrix : modules_) {
      if (matrix.role != MatrixRole::Block || !targets(step.targets, matrix.module)) continue;
      ++num_masked;
      const auto* const run = std::get_if<NofM>(&step.pattern);
      if (run == nullptr || cuts_ || matrix.in_features % run->of == 0) continue;
      places_.problems().add(
          {"R18",
           concat("pattern ", describe(step.pattern), " needs rows of a multiple of ", run->of,
                  ", ", matrix.module, " has ", matrix.in_features),
           body.key_at("pattern"),
           {},
           {"name the module under except"}});
      return;
    }
    if (num_masked > 0) return;
    places_.problems().add({"R15",
                            concat("step ", backquoted(recipe_.steps[index].id),
                                   " masks none of the decoder blocks' linear layers"),
                            body.at,
                            {},
                            {"the embedding and the head cannot be masked"}});
  }

  void check_quantize(const QuantizeStep& step, std::size_t index) {
    std::set<std::string> taken;
    for (std::size_t i = 0; i < step.rules.size(); ++i) {
      const QuantizeStep::Rule& rule = step.rules[i];
      const YamlNode& body = places_.rule(index, i);
      if (!rule.optional) {
        check_patterns(rule.targets.match, body, "match");
        check_patterns(rule.targets.except, body, "except");
      }
      std::size_t num_matched = 0;
      std::size_t num_new = 0;
      for (const NamedMatrix& matrix : modules_) {
        if (!targets(rule.targets, matrix.module)) continue;
        ++num_matched;
        if (taken.insert(matrix.module).second) ++num_new;
      }
      if (num_matched > 0 && num_new == 0) {
        warn(body.at, "R15",
             concat("rule ", i + 1, " never applies: earlier rules take its ", num_matched,
                    " modules"));
      }
    }
    if (cuts_) return;
    warn_of_short_groups(with_precision_rule(step, modules_), places_.step(index, "quantize"));
  }

  void warn_of_short_groups(const QuantizeStep& step, const YamlNode& body) {
    std::size_t num_short = 0;
    std::string first;
    for (const NamedMatrix& matrix : modules_) {
      const std::optional<QuantScheme> scheme =
          is_grid_open(step, matrix) ? std::nullopt : scheme_of(step, matrix);
      if (!scheme || scheme->groups_per_row(matrix.in_features) == 1 ||
          matrix.in_features % scheme->group_size == 0) {
        continue;
      }
      if (num_short++ == 0) {
        first = concat(matrix.module, " has rows of ", matrix.in_features, " and groups of ",
                       scheme->group_size);
      }
    }
    if (num_short > 0)
      warn(body.at, "R18",
           concat(first, ", so its last group is short; ", num_short, " modules in all"));
  }

  const Recipe& recipe_;
  const std::vector<NamedMatrix>& modules_;
  Places places_;
  std::vector<std::string> warnings_;
  bool cuts_ = false;
};

void check_text(const std::filesystem::path& path, const std::optional<std::string>& sha256,
                std::string_view use) {
  const auto refuse = [&](ErrorKind kind, const std::string& what) {
    throw Error(kind, "R19", concat("the ", use, " text ", backquoted(path.string()), " ", what));
  };
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    refuse(ErrorKind::Missing,
           concat(std::filesystem::exists(std::filesystem::symlink_status(path, error))
                      ? "is not a regular file"
                      : "does not exist",
                  "; recipes name texts relative to their own folder"));
  if (std::filesystem::file_size(path) == 0) refuse(ErrorKind::Usage, "is empty");
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_character_length(text.substr(at, 4));
    if (length == 0) refuse(ErrorKind::Usage, concat("is not valid UTF-8 at byte ", at));
    at += length;
  }
  if (!sha256) return;
  const std::string found = sha256_hex(file.bytes());
  if (found != *sha256)
    refuse(ErrorKind::Usage, concat("has sha256 ", found, ", the recipe says ", *sha256));
}

}  // namespace

std::optional<QuantScheme> scheme_of(const QuantizeStep& step, const NamedMatrix& matrix) {
  for (const QuantizeStep::Rule& rule : step.rules) {
    if (targets(rule.targets, matrix.module)) return rule.scheme;
  }
  switch (matrix.role) {
    case MatrixRole::Block:
      return step.weights;
    case MatrixRole::Embedding:
      return step.embedding;
    case MatrixRole::Head:
      return step.head;
  }
  return {};
}

ActivationRounding activations_of(const QuantizeStep& step, const NamedMatrix& matrix) {
  return matrix.role == MatrixRole::Block ? step.activations : ActivationRounding::None;
}

std::vector<std::string> check_targets(const Recipe& recipe,
                                       const std::vector<NamedMatrix>& modules) {
  return TargetCheck(recipe, modules).run();
}

void check_texts(const Recipe& recipe) {
  if (recipe.calibration)
    check_text(recipe.calibration->text, recipe.calibration->sha256, "calibration");
  for (const Step& step : recipe.steps) {
    const auto* const recover = std::get_if<RecoverStep>(&step.action);
    if (recover != nullptr) check_text(recover->text.text, {}, "training");
  }
  if (!recipe.evaluation) return;
  if (recipe.evaluation->text.extension() == ".jsonl") {
    throw Error(ErrorKind::Usage, "R19",
                concat("the evaluation text ", backquoted(recipe.evaluation->text.string()),
                       " is JSON lines; perplexity is measured on plain text"));
  }
  check_text(recipe.evaluation->text, {}, "evaluation");
}

}  // namespace edgecompress
