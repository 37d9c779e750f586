#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "recipe/problems.h"

namespace edgecompress {

/// A recipe file as a tree; every key and value knows its place.
struct YamlNode {
  enum class Kind { Null, Scalar, List, Map };
  struct Entry;

  Kind kind = Kind::Null;
  SourceSpan at;
  std::string text;             ///< Scalar: without quotes
  bool quoted = false;          ///< Scalar: written in quotes or as a block
  std::vector<YamlNode> items;  ///< List
  std::vector<Entry> entries;   ///< Map, in file order

  /// The value of a map's key; nullptr when this is no map or lacks the key.
  const YamlNode* find(std::string_view key) const;
  /// The place of a map's key, or of the map when it lacks the key.
  SourceSpan key_at(std::string_view key) const;
};

struct YamlNode::Entry {
  std::string key;
  SourceSpan key_at;
  YamlNode value;
};

/// Reads the strict YAML subset of docs/recipe-format.md (JSON is part of it).
/// Adds what the file may not contain to `problems`; throws through it when reading cannot go on.
YamlNode read_nodes(std::string_view text, Problems& problems);

}  // namespace edgecompress
