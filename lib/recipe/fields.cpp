#include "recipe/fields.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/sha256.h"
#include "base/suggest.h"
#include "recipe/mask_pattern.h"
#include "recipe/target_patterns.h"

namespace edgecompress {
namespace {

constexpr std::size_t kTextLimit = 4096;  // characters of a description or a path

std::string shape_name(const Shape& shape) {
  return shape.path.empty() ? "at the top level" : concat("in ", shape.path);
}

std::string method_of(const YamlNode& node, const Shape& shape) {
  return ObjectReader(&node).text(shape.selector, shape.default_method);
}

/// The fields a map may have, given the method it names.
std::vector<const Field*> fields_of(const Shape& shape, std::string_view method) {
  std::vector<const Field*> out;
  for (const Field& field : shape.fields) out.push_back(&field);
  const bool known = std::any_of(shape.methods.begin(), shape.methods.end(),
                                 [&](const MethodFields& row) { return row.name == method; });
  for (const MethodFields& row : shape.methods) {
    if (known && row.name != method)
      continue;  // a misspelt method has one complaint, not one per option
    for (const Field& field : row.fields) out.push_back(&field);
  }
  return out;
}

/// The keys a map must have; those of methods only when it names the method.
std::vector<const Field*> required_fields(const Shape& shape, std::string_view method) {
  std::vector<const Field*> out;
  const auto add = [&](std::span<const Field> fields) {
    for (const Field& field : fields) {
      if (field.presence == Presence::Required) out.push_back(&field);
    }
  };
  add(shape.fields);
  for (const MethodFields& row : shape.methods) {
    if (row.name == method) add(row.fields);
  }
  return out;
}

/// Adds the path of every map that knows the key.
void find_owners(std::string_view key, const Shape& shape, std::vector<std::string>& owners) {
  const auto visit = [&](const Field& field, const std::string& owner) {
    if (field.key == key && std::find(owners.begin(), owners.end(), owner) == owners.end()) {
      owners.push_back(owner);
    }
    if (field.shape != nullptr) find_owners(key, *field.shape, owners);
  };
  const std::string name = shape.path.empty() ? "the top level" : concat("`", shape.path, "`");
  for (const Field& field : shape.fields) visit(field, name);
  for (const MethodFields& row : shape.methods) {
    for (const Field& field : row.fields)
      visit(field, concat(name, " with ", shape.selector, " ", row.name));
  }
}

void refuse_key(const YamlNode::Entry& entry, const Shape& shape,
                const std::vector<const Field*>& fields, const Shape& root, Problems& problems) {
  std::vector<std::string> allowed;
  for (const Field* field : fields) allowed.emplace_back(field->key);
  const std::string guess = nearest(entry.key, allowed);
  std::vector<std::string> owners;
  find_owners(entry.key, root, owners);
  const bool typing_error =
      !guess.empty() && (owners.empty() || edit_distance(entry.key, guess) == 1);
  const std::string note = concat("allowed here: ", joined(allowed));
  if (!owners.empty() && !typing_error) {
    const std::string name = backquoted(entry.key);
    std::string where;
    for (const std::string& owner : owners) where += (where.empty() ? "" : " or ") + owner;
    problems.add({"R7",
                  concat("key ", name, " does not belong ", shape_name(shape)),
                  entry.key_at,
                  concat(name, " belongs under ", where),
                  {note}});
    return;
  }
  problems.add({"R6",
                concat("unknown key ", backquoted(entry.key), " ", shape_name(shape)),
                entry.key_at,
                guess.empty() ? "" : concat("did you mean `", guess, "`?"),
                {note}});
}

std::string_view kind_name(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::Null:
      return "nothing";
    case YamlNode::Kind::Scalar:
      return "a single value";
    case YamlNode::Kind::List:
      return "a list";
    case YamlNode::Kind::Map:
      return "a map";
  }
  return "";
}

/// Checks one value against one field.
class ValueCheck {
 public:
  ValueCheck(const Field& field, std::string where, Problems& problems)
      : field_(field), where_(std::move(where)), problems_(problems) {}

  void check(const YamlNode& value) const {
    switch (field_.kind) {
      case FieldKind::SchemaId:
        return schema_id(value);
      case FieldKind::VersionBound:
        return version_bound(value);
      case FieldKind::Name:
        return name(value);
      case FieldKind::Text:
        return text(value);
      case FieldKind::Path:
        return path(value);
      case FieldKind::Sha256:
        return sha256(value);
      case FieldKind::Integer:
        return integer(value);
      case FieldKind::Share:
        return share(value);
      case FieldKind::Boolean:
        return boolean(value);
      case FieldKind::Increase:
        return number(value, "a share such as 1% or 0.01, not negative",
                      [](double found) { return found >= 0; });
      case FieldKind::Size:
        return size(value);
      case FieldKind::Number:
        return number(value, "a number such as 1.5, more than 0",
                      [](double found) { return found > 0; });
      case FieldKind::Choice:
        return choice(value);
      case FieldKind::GroupSize:
        return group_size(value);
      case FieldKind::MaskPattern:
        return mask_pattern(value);
      case FieldKind::Integers:
        return each(value, &ValueCheck::integer, "an integer or a list of integers");
      case FieldKind::BlockHeads:
        return head_lists(value);
      case FieldKind::Texts:
        return each(value, &ValueCheck::text_item);
      case FieldKind::Targets:
        return each(value, &ValueCheck::target);
      case FieldKind::Bases:
      case FieldKind::Variables:
      case FieldKind::Object:
      case FieldKind::Objects:
        return;  // check_shape walks them
    }
  }

 private:
  void wrong_type(const YamlNode& value, std::string_view expected, std::string hint = {}) const {
    const std::string found = value.kind == YamlNode::Kind::Scalar
                                  ? backquoted(value.text)
                                  : std::string(kind_name(value.kind));
    problems_.add({"R9",
                   concat(where_, " must be ", expected, ", found ", found),
                   value.at,
                   std::move(hint),
                   {}});
  }
  void out_of_range(const YamlNode& value, const std::string& expected,
                    std::string hint = {}) const {
    problems_.add({"R10",
                   concat(where_, " must be ", expected, ", found ", backquoted(value.text)),
                   value.at,
                   std::move(hint),
                   {}});
  }

  bool scalar(const YamlNode& value, std::string_view expected) const {
    if (value.kind == YamlNode::Kind::Scalar) return true;
    wrong_type(value, expected,
               value.kind == YamlNode::Kind::Null ? "give a value or delete the key" : "");
    return false;
  }

  bool plain_text(const YamlNode& value, bool line_breaks) const {
    if (!scalar(value, "text")) return false;
    for (const char c : value.text) {
      if ((static_cast<unsigned char>(c) < 0x20 && !(line_breaks && c == '\n')) || c == 0x7F) {
        wrong_type(value, "text without control characters");
        return false;
      }
    }
    if (value.text.size() > kTextLimit) {
      problems_.add(
          {"R10",
           concat(where_, " must have at most ", kTextLimit, " bytes, found ", value.text.size()),
           value.at,
           {},
           {}});
      return false;
    }
    return true;
  }

  void text(const YamlNode& value) const { plain_text(value, true); }
  void text_item(const YamlNode& value) const {
    if (plain_text(value, false) && value.text.empty())
      out_of_range(value, "text that is not empty");
  }

  void schema_id(const YamlNode& value) const {
    if (!scalar(value, concat("`", kSchemaId, "`")) || value.text == kSchemaId) return;
    const bool other_version = value.text.starts_with(kSchemaId.substr(0, kSchemaId.find('/') + 2));
    problems_.add(
        {"R8",
         concat("schema must be `", kSchemaId, "`, found ", backquoted(value.text)),
         value.at,
         {},
         {other_version
              ? "this edgecompress reads version 1 only; a newer schema needs a newer edgecompress"
              : "this is how edgecompress knows that a file is a recipe"}});
  }

  void version_bound(const YamlNode& value) const {
    if (!scalar(value, "a lower bound such as \">=0.1\"")) return;
    if (!value.text.starts_with(">=") || !parse_version(value.text.substr(2))) {
      return wrong_type(value, "a lower bound such as \">=0.1\"");
    }
    if (*parse_version(value.text.substr(2)) > *parse_version(EDGECOMPRESS_VERSION)) {
      problems_.add({"R8",
                     concat("the recipe needs edgecompress ", printable(value.text)),
                     value.at,
                     concat("this is ", EDGECOMPRESS_VERSION),
                     {}});
    }
  }

  void name(const YamlNode& value) const {
    constexpr std::string_view kExpected = "1 to 64 of the characters a-z 0-9 . _ -";
    if (!scalar(value, kExpected)) return;
    const bool fits = !value.text.empty() && value.text.size() <= 64 &&
                      std::all_of(value.text.begin(), value.text.end(), [](char c) {
                        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                               c == '_' || c == '-';
                      });
    if (!fits) out_of_range(value, std::string(kExpected));
  }

  void path(const YamlNode& value) const {
    if (!plain_text(value, false)) return;
    const std::string& text = value.text;
    if (text.empty()) return out_of_range(value, "the path of a file");
    const bool drive = text.size() > 1 && text[1] == ':';
    if (text.starts_with('/') || text.starts_with('~') || drive ||
        text.find("://") != std::string::npos || text.find('\\') != std::string::npos) {
      problems_.add(
          {"R22",
           concat(where_, " must be a path relative to the recipe, found ", backquoted(text)),
           value.at,
           "absolute paths and URLs do not work elsewhere",
           {}});
    }
  }

  void sha256(const YamlNode& value) const {
    constexpr std::string_view kExpected = "64 lower-case hexadecimal digits";
    if (scalar(value, kExpected) && !is_sha256(value.text)) wrong_type(value, kExpected);
  }

  /// The integer, or nothing after a complaint.
  std::optional<std::int64_t> read_integer(const YamlNode& value, std::string_view expected) const {
    if (!scalar(value, expected)) return {};
    const std::optional<std::int64_t> number = parse_integer(value.text);
    if (number && !value.quoted) return number;
    std::string hint;
    const std::string_view digits =
        std::string_view(value.text).substr(value.text.starts_with('-') ? 1 : 0);
    const bool only_digits =
        !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
    if (number) hint = "remove the quotes";
    if (!number && only_digits && digits[0] == '0')
      hint = "no leading zeros: some YAML readers take this as octal";
    if (!number && only_digits && digits[0] != '0') hint = "too many digits";
    if (value.text.find('_') != std::string::npos) hint = "digits only, without `_`";
    if (value.text.find('.') != std::string::npos) hint = "digits only, without a fraction";
    wrong_type(value, expected, hint);
    return {};
  }

  void integer(const YamlNode& value) const {
    const std::optional<std::int64_t> number = read_integer(value, "an integer");
    if (!field_.choices.empty()) {
      if (!number || std::find(field_.choices.begin(), field_.choices.end(), value.text) !=
                         field_.choices.end())
        return;
      return out_of_range(value, concat("one of ", choices()));
    }
    if (number && (*number < field_.low || *number > field_.high)) {
      out_of_range(value, concat("from ", field_.low, " to ", field_.high));
    }
  }

  void share(const YamlNode& value) const {
    constexpr std::string_view kExpected = "a share such as 20% or 0.2";
    if (!scalar(value, kExpected)) return;
    const std::optional<double> number = parse_share(value.text);
    const bool percent = value.text.ends_with('%');
    if (!number || (value.quoted && !percent))
      return wrong_type(value, kExpected, number ? "remove the quotes" : "");
    if (*number > 0 && *number < 1) return;
    const bool meant_percent = !percent && *number >= 1 && *number < 100;
    out_of_range(value, "more than 0% and less than 100%",
                 meant_percent ? concat("did you mean ", value.text, "%?") : "");
  }

  template <typename Fits>
  void number(const YamlNode& value, std::string_view expected, const Fits& fits) const {
    if (!scalar(value, expected)) return;
    const bool percent = value.text.ends_with('%');
    const std::optional<double> found = parse_share(value.text);
    if (!found || (percent && field_.kind == FieldKind::Number)) return wrong_type(value, expected);
    if (value.quoted && !percent) return wrong_type(value, expected, "remove the quotes");
    if (!fits(*found)) out_of_range(value, std::string(expected));
  }

  void size(const YamlNode& value) const {
    constexpr std::string_view kExpected = "a size such as 4GiB, 500MB or a number of bytes";
    if (scalar(value, kExpected) && !parse_size(value.text)) wrong_type(value, kExpected);
  }

  void boolean(const YamlNode& value) const {
    if (!scalar(value, "true or false")) return;
    const bool fits = value.text == "true" || value.text == "false";
    if (!fits) return wrong_type(value, "true or false");
    if (value.quoted) wrong_type(value, "true or false", "remove the quotes");
  }

  std::string choices() const {
    std::vector<std::string> words(field_.choices.begin(), field_.choices.end());
    return joined(words);
  }

  void choice(const YamlNode& value) const {
    if (!scalar(value, concat("one of ", choices()))) return;
    if (std::find(field_.choices.begin(), field_.choices.end(), value.text) != field_.choices.end())
      return;
    const std::vector<std::string> words(field_.choices.begin(), field_.choices.end());
    const std::string guess = nearest(value.text, words);
    out_of_range(value, concat("one of ", choices()),
                 guess.empty() ? "" : concat("did you mean `", guess, "`?"));
  }

  void group_size(const YamlNode& value) const {
    if (value.kind == YamlNode::Kind::Scalar && value.text == "channel") return;
    const std::optional<std::int64_t> number = read_integer(value, "an integer or `channel`");
    if (!number || std::find(kGroupSizes.begin(), kGroupSizes.end(), *number) != kGroupSizes.end())
      return;
    out_of_range(value, "one of 32, 64, 128, 256 or `channel`");
  }

  void mask_pattern(const YamlNode& value) const {
    if (!scalar(value, kMaskPatternForms) || parse_mask_pattern(value.text, 0.5)) return;
    out_of_range(value, std::string(kMaskPatternForms));
  }

  void target(const YamlNode& value) const {
    if (!plain_text(value, false)) return;
    const std::string complaint = target_pattern_complaint(value.text);
    if (!complaint.empty()) {
      problems_.add(
          {"R16", concat("pattern ", backquoted(value.text), ": ", complaint), value.at, {}, {}});
    }
  }

  void each(const YamlNode& value, void (ValueCheck::*item)(const YamlNode&) const,
            std::string_view expected = "a text or a list of texts") const {
    if (value.kind == YamlNode::Kind::Scalar) return (this->*item)(value);
    if (value.kind != YamlNode::Kind::List) return wrong_type(value, expected);
    if (value.items.empty()) {
      problems_.add(
          {"R10", concat(where_, " must not be an empty list"), value.at, "delete the key", {}});
    }
    for (const YamlNode& entry : value.items) (this->*item)(entry);
  }

  void head_lists(const YamlNode& value) const {
    constexpr std::string_view kExpected =
        "a map of decoder blocks and their heads, for example {0: [0, 1]}";
    if (value.kind != YamlNode::Kind::Map || value.entries.empty()) {
      return wrong_type(value, kExpected);
    }
    for (const YamlNode::Entry& entry : value.entries) {
      const std::optional<std::int64_t> block = parse_integer(entry.key);
      if (!block || *block < 0 || *block > field_.high) {
        problems_.add(
            {"R9",
             concat(where_, " must be ", kExpected, ", found the key ", backquoted(entry.key)),
             entry.key_at,
             "a key is the index of a decoder block, counted from 0",
             {}});
      }
      each(entry.value, &ValueCheck::integer, "a head or a list of heads");
    }
  }

  const Field& field_;
  std::string where_;
  Problems& problems_;
};

void check_field(const YamlNode& value, const Field& field, const Shape& shape, const Shape& root,
                 Problems& problems) {
  const std::string where =
      shape.path.empty() ? std::string(field.key) : concat(shape.path, ".", field.key);
  if (field.kind == FieldKind::Object) return check_shape(value, *field.shape, root, problems);
  if (field.kind != FieldKind::Objects) return ValueCheck(field, where, problems).check(value);
  if (value.kind != YamlNode::Kind::List &&
      !(value.kind == YamlNode::Kind::Null && field.key == "steps")) {
    problems.add({"R9",
                  concat(where, " must be a list, found ", kind_name(value.kind)),
                  value.at,
                  "start each item with `- `",
                  {}});
  }
  for (const YamlNode& item : value.items) check_shape(item, *field.shape, root, problems);
}

}  // namespace

void check_shape(const YamlNode& node, const Shape& shape, const Shape& root, Problems& problems) {
  const std::string method = method_of(node, shape);
  const std::vector<const Field*> fields = fields_of(shape, method);
  if (node.kind != YamlNode::Kind::Map) {
    const std::string name = shape.path.empty() ? "a recipe" : std::string(shape.path);
    problems.add({"R9",
                  concat(name, " must be a map of keys and values, found ", kind_name(node.kind)),
                  node.at,
                  {},
                  {}});
    return;
  }
  for (const YamlNode::Entry& entry : node.entries) {
    if (entry.key.starts_with("x-")) continue;
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&](const Field* f) { return f->key == entry.key; });
    if (field == fields.end()) {
      refuse_key(entry, shape, fields, root, problems);
    } else {
      check_field(entry.value, **field, shape, root, problems);
    }
  }
  for (const Field* field : required_fields(shape, method)) {
    if (node.find(field->key) != nullptr) continue;
    problems.add({std::string(field->missing_code),
                  concat("key `", field->key, "` is missing ", shape_name(shape)),
                  node.at,
                  {},
                  {}});
  }
}

}  // namespace edgecompress
