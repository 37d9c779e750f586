#include "recipe/overrides.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/suggest.h"
#include "recipe/language.h"
#include "recipe/merge.h"

namespace edgecompress {
namespace {

std::vector<const Field*> all_fields(const Shape& shape) {
  std::vector<const Field*> out;
  for (const Field& field : shape.fields) out.push_back(&field);
  for (const MethodFields& row : shape.methods) {
    for (const Field& field : row.fields) out.push_back(&field);
  }
  return out;
}

/// A list's entry by the id of its step or by its index.
class ListPlace {
 public:
  ListPlace(std::vector<YamlNode>& items, std::string_view path) : items_(items), path_(path) {}

  /// Bytes of the path that name an entry; 0: none does.
  std::size_t find() {
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const YamlNode* const id = items_[i].find("id");
      const std::string name = id != nullptr ? id->text : std::to_string(i);
      if (names(name) && name.size() > length_) {  // ids may hold dots: the longest one counts
        length_ = name.size();
        index_ = i;
      }
    }
    return length_;
  }
  YamlNode& entry() const { return items_[index_]; }

 private:
  bool names(const std::string& name) const {
    return path_.starts_with(name) && (path_.size() == name.size() || path_[name.size()] == '.');
  }

  std::vector<YamlNode>& items_;
  std::string_view path_;
  std::size_t length_ = 0;
  std::size_t index_ = 0;
};

class Override {
 public:
  Override(const std::string& text, Problems& problems) : text_(text), problems_(problems) {}

  void apply(YamlNode& root) {
    const std::size_t equals = text_.find('=');
    if (equals == std::string::npos || equals == 0) {
      return refuse(0, text_.size(), "must be PATH=VALUE, as steps.quant.quantize.weights.bits=8");
    }
    path_ = std::string_view(text_).substr(0, equals);
    set_in_map(root, kRecipeShape, 0);
  }

 private:
  void refuse(std::size_t at, std::size_t length, const std::string& what,
              const std::vector<std::string>& notes = {}) {
    problems_.add({"R21", what, problems_.span(0, at, length), {}, notes});
  }

  YamlNode value() {
    const std::size_t start = path_.size() + 1;
    const std::string_view value = std::string_view(text_).substr(start);
    if (!value.empty() && std::string_view("[{\"").find(value[0]) != std::string_view::npos) {
      // blanks instead of the path keep the columns
      return read_nodes(std::string(start, ' ') + std::string(value), problems_);
    }
    YamlNode node;
    node.kind = YamlNode::Kind::Scalar;
    node.text = value;
    node.at = problems_.span(0, start, value.size());
    return node;
  }

  void set_key(YamlNode& map, std::string_view key) {
    const bool takes_out = std::string_view(text_).substr(path_.size() + 1) == "null";
    const SourceSpan at = problems_.span(0, path_.size() - key.size(), key.size());
    if (takes_out) return remove_key(map, key);
    for (YamlNode::Entry& entry : map.entries) {
      if (entry.key != key) continue;
      entry.value = value();
      entry.key_at = at;
      return;
    }
    map.entries.push_back({std::string(key), at, value()});
  }

  void set_in_map(YamlNode& map, const Shape& shape, std::size_t from) {
    if (map.kind != YamlNode::Kind::Map) {
      map = {};
      map.kind = YamlNode::Kind::Map;
      map.at = problems_.span(0, from, 1);
    }
    const std::string_view rest = path_.substr(from);
    const std::string_view key = rest.substr(0, rest.find('.'));
    const std::vector<const Field*> fields = all_fields(shape);
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const Field* f) { return f->key == key; });
    if (field == fields.end() || (*field)->kind == FieldKind::Bases) {
      return refuse_key(key, from, fields);
    }
    if (key.size() == rest.size()) return set_key(map, key);
    descend(map, **field, from + key.size() + 1);
  }

  void descend(YamlNode& map, const Field& field, std::size_t from) {
    if (field.kind == FieldKind::Variables)
      return set_key(child(map, field.key, from), path_.substr(from));
    if (field.kind == FieldKind::Object)
      return set_in_map(child(map, field.key, from), *field.shape, from);
    if (field.kind != FieldKind::Objects) {
      return refuse(from, path_.size() - from, concat(field.key, " has no keys of its own"));
    }
    YamlNode& list = child(map, field.key, from);
    ListPlace place(list.items, path_.substr(from));
    const std::size_t length = place.find();
    if (length == 0) return refuse_entry(list, field, from);
    if (from + length == path_.size()) {
      return refuse(from, length, "names a whole entry; name one of its keys");
    }
    set_in_map(place.entry(), *field.shape, from + length + 1);
  }

  YamlNode& child(YamlNode& map, std::string_view key, std::size_t from) {
    for (YamlNode::Entry& entry : map.entries) {
      if (entry.key == key) return entry.value;
    }
    YamlNode made;
    made.kind = YamlNode::Kind::Map;
    made.at = problems_.span(0, from, 1);
    map.entries.push_back({std::string(key), made.at, made});
    return map.entries.back().value;
  }

  void refuse_key(std::string_view key, std::size_t at, const std::vector<const Field*>& fields) {
    std::vector<std::string> known;
    for (const Field* field : fields) {
      if (field->kind != FieldKind::Bases) known.emplace_back(field->key);
    }
    const std::string guess = nearest(key, known);
    problems_.add({"R21",
                   concat("recipes have no key ", backquoted(path_.substr(0, at + key.size()))),
                   problems_.span(0, at, key.size()),
                   guess.empty() ? "" : concat("did you mean `", guess, "`?"),
                   {concat("known here: ", joined(known))}});
  }

  void refuse_entry(const YamlNode& list, const Field& field, std::size_t from) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      const YamlNode* const id = list.items[i].find("id");
      names.push_back(id != nullptr ? id->text : std::to_string(i));
    }
    refuse(from, path_.size() - from,
           concat(field.key, " has no entry ", backquoted(path_.substr(from))),
           {names.empty() ? "it has none" : concat("it has: ", joined(names))});
  }

  const std::string& text_;
  Problems& problems_;
  std::string_view path_;
};

}  // namespace

void apply_override(YamlNode& root, const std::string& text, Problems& problems) {
  Override(text, problems).apply(root);
}

}  // namespace edgecompress
