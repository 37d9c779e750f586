#include "recipe/document.h"

#include <algorithm>

#include "base/error.h"
#include "base/mapped_file.h"
#include "recipe/fields.h"
#include "recipe/merge.h"
#include "recipe/overrides.h"
#include "recipe/variables.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSizeLimit = std::uint64_t{1} << 20;
constexpr std::size_t kDepthLimit = 8;

bool is_relative_path(const std::string& text) {
  return !text.empty() && !text.starts_with('/') && !text.starts_with('~') &&
         text.find("://") == std::string::npos && text.find('\\') == std::string::npos &&
         !(text.size() > 1 && text[1] == ':');
}

/// Loads a file after its bases.
class DocumentLoader {
 public:
  DocumentLoader(RecipeDocument& document, Problems& problems)
      : document_(document), problems_(problems) {}

  /// folder: of the file, relative to the recipe's own; empty for the recipe itself.
  YamlNode load(const std::string& text, const fs::path& path, const fs::path& folder) {
    document_.sources.push_back({.name = path.string(), .text = text, .path = path});
    const RecipeSource& source = document_.sources.back();
    problems_.add_source(source.name, source.text);
    YamlNode own = read_nodes(source.text, problems_);
    problems_.fail_if_any();
    chain_.push_back(path.lexically_normal());
    YamlNode bases = load_bases(own, folder);
    chain_.pop_back();
    if (!folder.empty()) place_texts(own, folder);
    remove_key(own, "extends");
    merge_recipe(bases, own, problems_);
    return bases;
  }

 private:
  [[noreturn]] void refuse(const YamlNode& at, const std::string& what, std::string note = {}) {
    Problem problem{"R13", concat("extends ", backquoted(at.text), " ", what), at.at, {}, {}};
    if (!note.empty()) problem.notes.push_back(std::move(note));
    problems_.add(std::move(problem));
    problems_.fail();
  }

  YamlNode load_bases(const YamlNode& own, const fs::path& folder) {
    YamlNode merged;
    merged.kind = YamlNode::Kind::Map;
    merged.at = own.at;
    const YamlNode* const extends = own.find("extends");
    if (extends == nullptr) return merged;
    document_.composed = true;
    const bool list = extends->kind == YamlNode::Kind::List;
    for (const YamlNode& name : list ? extends->items : std::vector<YamlNode>{*extends}) {
      merge_recipe(merged, load_base(name, folder), problems_);
    }
    return merged;
  }

  YamlNode load_base(const YamlNode& name, const fs::path& folder) {
    if (name.kind != YamlNode::Kind::Scalar || !is_relative_path(name.text)) {
      refuse(name, "must be a path relative to this file");
    }
    const fs::path inside = (folder / name.text).lexically_normal();
    if (*inside.begin() == "..") {
      refuse(name, "leaves the folder of the recipe", "bases lie beside the recipe or below it");
    }
    const fs::path path =
        (document_.sources.front().path.parent_path() / inside).lexically_normal();
    if (std::find(chain_.begin(), chain_.end(), path) != chain_.end()) {
      std::string chain;
      for (const fs::path& step : chain_) chain += step.string() + " -> ";
      refuse(name, "goes in a circle", chain + path.string());
    }
    if (chain_.size() >= kDepthLimit) {
      refuse(name, concat("is nested deeper than ", kDepthLimit, " files"));
    }
    std::error_code error;
    if (!fs::is_regular_file(path, error)) refuse(name, "does not exist", path.string());
    if (fs::file_size(path) > kSizeLimit) refuse(name, "is larger than 1 MiB");
    YamlNode base = load(read_text_file(path, kSizeLimit), path, inside.parent_path());
    refuse_other_schema(base, name);
    return base;
  }

  void refuse_other_schema(const YamlNode& base, const YamlNode& name) {
    const YamlNode* const schema = base.find("schema");
    if (schema != nullptr && schema->text == kSchemaId) return;
    refuse(name, concat("is no recipe: it lacks `schema: ", kSchemaId, "`"));
  }

  /// Paths are relative to the file that names them; from here on to the recipe itself.
  static void place_texts(YamlNode& own, const fs::path& folder) {
    for (YamlNode* const text : text_nodes(own)) {
      if (!is_relative_path(text->text)) continue;
      text->text = (folder / text->text).lexically_normal().string();
    }
  }

  RecipeDocument& document_;
  Problems& problems_;
  std::vector<fs::path> chain_;
};

void add_text(YamlNode& section, std::vector<YamlNode*>& out) {
  for (YamlNode::Entry& entry : section.entries) {
    if (entry.key == "text") out.push_back(&entry.value);
  }
}

}  // namespace

std::vector<YamlNode*> text_nodes(YamlNode& recipe) {
  std::vector<YamlNode*> out;
  for (YamlNode::Entry& section : recipe.entries) {
    if (section.key == "calibration" || section.key == "evaluate") add_text(section.value, out);
    if (section.key != "steps") continue;
    for (YamlNode& step : section.value.items) {
      for (YamlNode::Entry& action : step.entries) {
        if (action.key == "recover") add_text(action.value, out);
      }
    }
  }
  return out;
}

void load_document(const std::string& text, const fs::path& path,
                   const std::vector<std::string>& overrides, Problems& problems,
                   RecipeDocument& document) {
  document.root = DocumentLoader(document, problems).load(text, path, {});
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    document.composed = true;
    document.sources.push_back(
        {.name = concat("--set #", i + 1), .text = overrides[i], .path = {}});
    const RecipeSource& source = document.sources.back();
    problems.add_source(source.name, source.text);
    apply_override(document.root, source.text, problems);
  }
  if (put_variables_in(document.root, problems)) document.composed = true;
}

}  // namespace edgecompress
