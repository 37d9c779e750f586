#include "recipe/lock.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/file_hash.h"
#include "base/mapped_file.h"
#include "llama/folder_files.h"
#include "recipe/document.h"
#include "recipe/merge.h"
#include "recipe/yaml_text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

std::string sha256_of(const fs::path& path) { return sha256_of_file(MappedFile(path)); }

std::vector<fs::path> texts_of(const Recipe& recipe) {
  std::vector<fs::path> texts;
  if (recipe.calibration) texts.push_back(recipe.calibration->text);
  if (recipe.evaluation) texts.push_back(recipe.evaluation->text);
  if (const auto* const recovery = step_of<RecoverStep>(recipe.steps)) {
    const fs::path& text = recovery->text.text;
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(text);
  }
  return texts;
}

fs::path from_folder(const fs::path& path, const fs::path& folder) {
  return fs::proximate(fs::absolute(path), fs::absolute(folder.empty() ? "." : folder));
}

/// Texts stand relative to the lock's folder from now on.
void move_texts(YamlNode& root, const Recipe& recipe, const fs::path& folder) {
  for (YamlNode* const text : text_nodes(root)) {
    text->text = from_folder(recipe.source_path.parent_path() / text->text, folder).string();
  }
}

std::string locked_file(const std::string& name, const std::string& sha256) {
  return concat("    - file: ", yaml_quoted(name), "\n      sha256: ", sha256, "\n");
}

YamlNode text_node(const std::string& text) {
  YamlNode node;
  node.kind = YamlNode::Kind::Scalar;
  node.text = text;
  return node;
}

void add_entry(YamlNode& map, const std::string& key, YamlNode value) {
  map.kind = YamlNode::Kind::Map;
  map.entries.push_back({.key = key, .key_at = {}, .value = std::move(value)});
}

/// A rule that gives some modules their grid.
YamlNode rule_node(const QuantScheme& scheme, const std::vector<std::string>& modules) {
  YamlNode weights;
  add_entry(weights, "bits", text_node(std::to_string(scheme.bits)));
  add_entry(weights, "group_size", text_node(std::to_string(scheme.group_size)));
  const bool symmetric = scheme.symmetry == Symmetry::Symmetric;
  add_entry(weights, "symmetric", text_node(symmetric ? "true" : "false"));
  YamlNode match;
  match.kind = YamlNode::Kind::List;
  for (const std::string& module : modules) match.items.push_back(text_node(module));
  YamlNode rule;
  add_entry(rule, "match", std::move(match));
  add_entry(rule, "weights", std::move(weights));
  return rule;
}

/// The modules that each grid was chosen for, in the report's order.
std::vector<YamlNode> chosen_rules(const QuantizeStep& step, const Report& report) {
  std::vector<YamlNode> rules;
  for (const QuantScheme& scheme : candidate_schemes(step.weights)) {
    std::vector<std::string> modules;
    for (const TensorReport& tensor : report.tensors) {
      // the embedding and the head lie outside the decoder blocks
      if (!tensor.name.starts_with("model.layers.") || !is_grid_open(step, {.module = tensor.name}))
        continue;
      if (tensor.bits == scheme.bits && tensor.group_size == scheme.group_size) {
        modules.push_back(tensor.name);
      }
    }
    if (!modules.empty()) rules.push_back(rule_node(scheme, modules));
  }
  return rules;
}

YamlNode* entry_of(YamlNode& map, std::string_view key) {
  const auto found = std::find_if(map.entries.begin(), map.entries.end(),
                                  [&](const YamlNode::Entry& entry) { return entry.key == key; });
  return found == map.entries.end() ? nullptr : &found->value;
}

/// Puts the grids that a run chose in the place of its size target.
void freeze_grids(YamlNode& root, const Recipe& recipe, const fs::path& model,
                  const Report& report) {
  const auto refuse = [](const std::string& what) {
    throw Error(ErrorKind::Conflict, "L2", concat("the report cannot be locked: ", what));
  };
  const auto* const step = step_of<QuantizeStep>(recipe.steps);
  if (step == nullptr || !step->size_target) refuse("the recipe has no size target");
  if (report.recipe != recipe.source_text) {
    refuse("it is of another recipe, or of this one with other --set flags");
  }
  if (report.model_config_sha256 != sha256_of(model / "config.json")) {
    refuse("it is of another model: config.json has another SHA-256");
  }
  std::vector<YamlNode> rules = chosen_rules(*step, report);
  for (YamlNode& node : entry_of(root, "steps")->items) {
    YamlNode* const quantize = entry_of(node, "quantize");
    if (quantize == nullptr) continue;
    remove_key(*quantize, "target_size");
    remove_key(*quantize, "target_bpw");
    remove_key(*quantize, "sensitivity");
    YamlNode list;
    list.kind = YamlNode::Kind::List;
    if (entry_of(*quantize, "rules") == nullptr) add_entry(*quantize, "rules", list);
    std::vector<YamlNode>& all = entry_of(*quantize, "rules")->items;
    std::move(rules.begin(), rules.end(), std::back_inserter(all));
  }
}

/// One line when the file is not the locked one.
std::string difference(const fs::path& path, const LockedFile& locked) {
  std::error_code error;
  if (locked.file.starts_with('/')) return concat("\n  ", locked.file, ": an absolute path");
  if (!fs::is_regular_file(path, error)) return concat("\n  ", locked.file, ": missing");
  const std::string found = sha256_of(path);
  if (found == locked.sha256) return {};
  return concat("\n  ", locked.file, ": sha256 ", found, ", locked ", locked.sha256);
}

}  // namespace

std::string locked_recipe(const Recipe& recipe, const fs::path& model, const fs::path& lock_path,
                          const Report* report) {
  ensure(recipe.document != nullptr, "a recipe that was read from a file");
  YamlNode root = recipe.document->root;
  remove_key(root, "lock");
  if (report != nullptr) freeze_grids(root, recipe, model, *report);
  const fs::path folder = lock_path.parent_path();
  move_texts(root, recipe, folder);
  std::string out = yaml_text(root);
  out += concat("lock:\n  edgecompress: ", EDGECOMPRESS_VERSION, "\n  model:\n");
  for (const std::string& name : computed_files(model)) {
    out += locked_file(name, sha256_of(model / name));
  }
  const std::vector<fs::path> texts = texts_of(recipe);
  out += texts.empty() ? "  texts: []\n" : "  texts:\n";
  for (const fs::path& text : texts) {
    out += locked_file(from_folder(text, folder).string(), sha256_of(text));
  }
  return out;
}

void check_lock(const Recipe& recipe, const fs::path& model) {
  if (!recipe.lock) return;
  const RecipeLock& lock = *recipe.lock;
  std::string differences;
  if (lock.edgecompress != EDGECOMPRESS_VERSION) {
    differences +=
        concat("\n  edgecompress: this is ", EDGECOMPRESS_VERSION, ", locked ", lock.edgecompress);
  }
  for (const LockedFile& file : lock.model) differences += difference(model / file.file, file);
  for (const std::string& name : computed_files(model)) {
    const bool known = std::any_of(lock.model.begin(), lock.model.end(),
                                   [&](const LockedFile& file) { return file.file == name; });
    if (!known) differences += concat("\n  ", name, ": not in the lock");
  }
  for (const LockedFile& file : lock.texts) {
    differences += difference(recipe.source_path.parent_path() / file.file, file);
  }
  if (differences.empty()) return;
  throw Error(
      ErrorKind::Conflict, "L1",
      concat("these are not the inputs of ", recipe.source_path.string(),
             ", so the bytes would differ:", differences,
             "\n  run the recipe that was locked, or lock it again with `edgecompress recipe "
             "lock`"));
}

}  // namespace edgecompress
