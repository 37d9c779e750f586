#include "recipe/yaml_text.h"

#include "base/error.h"

namespace edgecompress {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

class YamlWriter {
 public:
  explicit YamlWriter(const std::vector<std::string>& origins) : origins_(origins) {}

  std::string take() { return std::move(out_); }

  /// An entry's value: behind its key on one line, or below it.
  void value(const YamlNode& node, std::size_t indent) {
    const bool empty = node.items.empty() && node.entries.empty();
    if (node.kind == YamlNode::Kind::List && !empty) {
      out_ += '\n';
      return list(node, indent + 2);
    }
    if (node.kind == YamlNode::Kind::Map && !empty) {
      out_ += '\n';
      return map(node, indent + 2, false);
    }
    out_ += ' ' + leaf(node) + origin(node) + '\n';
  }

  /// on_line: the first entry stands on a line that was begun.
  void map(const YamlNode& node, std::size_t indent, bool on_line) {
    for (const YamlNode::Entry& entry : node.entries) {
      if (!on_line) out_.append(indent, ' ');
      on_line = false;
      out_ += key_text(entry.key) + ':';
      value(entry.value, indent);
    }
  }

 private:
  static std::string leaf(const YamlNode& node) {
    switch (node.kind) {
      case YamlNode::Kind::Null:
        return "null";
      case YamlNode::Kind::List:
        return "[]";
      case YamlNode::Kind::Map:
        return "{}";
      case YamlNode::Kind::Scalar:
        break;
    }
    return node.quoted || !is_plain(node.text) ? yaml_quoted(node.text) : node.text;
  }

  /// A key keeps quotes only where it needs them.
  static std::string key_text(const std::string& key) {
    return is_plain(key) ? key : yaml_quoted(key);
  }

  static bool is_plain(const std::string& text) {
    constexpr std::string_view kSafe =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./%+-";
    return !text.empty() && text.find_first_not_of(kSafe) == std::string::npos && text != "-" &&
           !text.starts_with("---") && !text.starts_with("...") && !text.starts_with('%') &&
           text != "null" && text != "~";
  }

  void list(const YamlNode& node, std::size_t indent) {
    for (const YamlNode& item : node.items) {
      out_.append(indent, ' ');
      out_ += '-';
      if (item.kind == YamlNode::Kind::Map && !item.entries.empty()) {
        out_ += ' ';
        map(item, indent + 2, true);
      } else {
        value(item, indent + 2);
      }
    }
  }

  std::string origin(const YamlNode& node) const {
    if (node.at.source >= origins_.size()) return {};
    return concat("  # ", origins_[node.at.source], ":", node.at.line);
  }

  const std::vector<std::string>& origins_;
  std::string out_;
};

}  // namespace

std::string yaml_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += kHexDigits[byte >> 4];
      out += kHexDigits[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string yaml_text(const YamlNode& node, const std::vector<std::string>& origins) {
  YamlWriter writer(origins);
  writer.map(node, 0, false);
  return writer.take();
}

}  // namespace edgecompress
