#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/node.h"
#include "recipe/problems.h"

namespace edgecompress {

struct Shape;

/// What the value of a key may be. The tables of these are the recipe language; language.cpp has
/// them.
enum class FieldKind {
  SchemaId,      ///< "edgecompress.recipe/v1"
  VersionBound,  ///< ">=0.4" or ">=0.4.1"
  Name,          ///< [a-z0-9._-]{1,64}
  Text,
  Path,     ///< relative
  Sha256,   ///< 64 lower-case hexadecimal digits
  Integer,  ///< low..high
  Share,    ///< 20% or 0.2, more than 0 and less than 1
  Boolean,
  Increase,     ///< 1% or 0.01, not negative
  Size,         ///< bytes: 4GiB, 500MB, 1048576
  Number,       ///< more than 0
  Choice,       ///< one of `choices`
  GroupSize,    ///< one of kGroupSizes, or "channel"
  MaskPattern,  ///< unstructured, per-row, N:M or RxC
  Integers,     ///< an integer or a list of them, each low..high
  BlockHeads,   ///< a map of block indices and lists of head indices, each low..high
  Texts,        ///< a text or a list of them
  Targets,      ///< a target pattern or a list of them
  Object,       ///< a map of `shape`
  Objects,      ///< a list of maps of `shape`
  Bases,        ///< files to start from; taken out when they are merged
  Variables,    ///< a map of names and single values; taken out when they are put in
};

enum class Presence { Optional, Required };

struct Field {
  std::string_view key;
  FieldKind kind;
  Presence presence = Presence::Optional;
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::span<const std::string_view> choices = {};
  const Shape* shape = nullptr;
  std::string_view missing_code = "R23";
};

/// Keys that only one method of a family knows.
struct MethodFields {
  std::string_view name;
  std::span<const Field> fields;
};

/// A map's keys.
struct Shape {
  std::string_view
      path;  ///< as messages name it, for example "quantize.weights"; empty: the whole recipe
  std::span<const Field> fields;
  std::string_view selector = {};  ///< the key that names the method
  std::string_view default_method = {};
  std::span<const MethodFields> methods = {};
};

inline constexpr std::array<std::int64_t, 5> kGroupSizes{0, 32, 64, 128, 256};  // 0: per channel
inline constexpr std::string_view kSchemaId = "edgecompress.recipe/v1";

/// Checks a value against the tables: unknown, misplaced and missing keys, types and ranges, at
/// every level. root: the whole language, searched for where a misplaced key belongs.
void check_shape(const YamlNode& node, const Shape& shape, const Shape& root, Problems& problems);

/// Scalars as the language writes them; nothing for any other text.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_share(std::string_view text);
/// A plain number of bytes, or with KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).
std::optional<double> parse_size(std::string_view text);
std::optional<std::vector<int>> parse_version(std::string_view text);

/// Values of a map that may be absent, or wrong and already reported: both give the default.
class ObjectReader {
 public:
  explicit ObjectReader(const YamlNode* node) : node_(node) {}

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const YamlNode* find(std::string_view key) const;
  /// True when the map has a key that is neither this one nor x-*, or when it is no map.
  bool has_other_keys(std::string_view key) const;
  ObjectReader object(std::string_view key) const { return ObjectReader(find(key)); }
  /// Where the key stands, or else the map.
  SourceSpan at(std::string_view key) const;

  std::int64_t integer(std::string_view key, std::int64_t otherwise) const;
  double share(std::string_view key, double otherwise) const;
  bool boolean(std::string_view key, bool otherwise) const;
  std::string text(std::string_view key, std::string_view otherwise) const;
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::map<std::int64_t, std::vector<std::int64_t>> head_lists(std::string_view key) const;
  std::vector<std::string> texts(std::string_view key) const;

 private:
  const YamlNode* node_;
};

}  // namespace edgecompress
