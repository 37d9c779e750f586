#include "recipe/lock.h"

#include <algorithm>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "recipe/document.h"
#include "recipe/merge.h"
#include "recipe/yaml_text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// Files of a model folder that edgecompress reads, by name.
std::vector<std::string> model_files(const fs::path& model) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(model, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool read = name == "config.json" || name == "tokenizer.json" ||
                      name == "model.safetensors.index.json" || name.ends_with(".safetensors");
    if (read) names.push_back(name);
  }
  if (error) {
    throw Error(ErrorKind::Missing, "F-OPEN",
                concat("cannot read the folder ", model.string(), ": ", error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string sha256_of(const fs::path& path) {
  const MappedFile file(path);
  Sha256 hash;
  constexpr std::size_t kPiece = std::size_t{1} << 24;  // given back at once: a model is large
  for (std::size_t at = 0; at < file.bytes().size(); at += kPiece) {
    const auto piece = file.bytes().subspan(at, std::min(kPiece, file.bytes().size() - at));
    hash.add(piece);
    file.drop(piece);
  }
  return hash.hex_digest();
}

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

std::string locked_recipe(const Recipe& recipe, const fs::path& model, const fs::path& lock_path) {
  ensure(recipe.document != nullptr, "a recipe that was read from a file");
  YamlNode root = recipe.document->root;
  remove_key(root, "lock");
  const fs::path folder = lock_path.parent_path();
  move_texts(root, recipe, folder);
  std::string out = yaml_text(root);
  out += concat("lock:\n  edgecompress: ", EDGECOMPRESS_VERSION, "\n  model:\n");
  for (const std::string& name : model_files(model)) {
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
  for (const std::string& name : model_files(model)) {
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
