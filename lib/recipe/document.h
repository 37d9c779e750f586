#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "recipe/node.h"
#include "recipe/problems.h"

namespace edgecompress {

/// Where a part of a recipe was written: a file, or a --set flag.
struct RecipeSource {
  std::string name;            ///< as messages show it; empty: text made in memory
  std::string text;            ///< SourceSpan counts lines and columns in it
  std::filesystem::path path;  ///< empty for --set
};

/// A recipe with its bases, --set flags and variables put together.
struct RecipeDocument {
  YamlNode root;                     ///< without `extends`; every value knows its source
  std::deque<RecipeSource> sources;  ///< [0] is the recipe's own file
  bool composed = false;             ///< root differs from what sources[0] says
};

/// The values that name a text file: of calibration, of evaluate, of recover steps.
std::vector<YamlNode*> text_nodes(YamlNode& recipe);

/// Reads a recipe's bases, merges them, applies `overrides` ("path=value") and puts variables in.
/// text, path: of the recipe itself. Adds what is wrong to `problems`, which must know no source
/// yet; throws through it when reading cannot go on. The document must outlive `problems`.
void load_document(const std::string& text, const std::filesystem::path& path,
                   const std::vector<std::string>& overrides, Problems& problems,
                   RecipeDocument& document);

}  // namespace edgecompress
