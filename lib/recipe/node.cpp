#include "recipe/node.h"

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "base/error.h"
#include "recipe/utf8.h"

namespace edgecompress {
namespace {

constexpr std::size_t kSizeLimit = std::size_t{1} << 20;
constexpr std::size_t kDepthLimit = 16;

/// Refuses the bytes that yaml-cpp would accept or misreport. True when the text may be parsed.
bool check_bytes(std::string_view text, Problems& problems) {
  if (text.size() > kSizeLimit) {
    problems.add(
        {"R12",
         concat("the recipe has ", text.size(), " bytes; at most ", kSizeLimit, " are allowed"),
         problems.span(0, 0, 1),
         {},
         {}});
  }
  if (text.starts_with("\xEF\xBB\xBF")) {
    problems.add({"R12",
                  "the file starts with a byte order mark",
                  problems.span(0, 0, 1),
                  "save as UTF-8 without it",
                  {}});
  }
  std::size_t line = 0;
  std::size_t line_start = 0;
  bool tab_seen = false;
  for (std::size_t i = 0; i < text.size() && problems.empty();) {
    const auto here = [&] { return problems.span(line, i - line_start, 1); };
    const std::size_t length = utf8_character_length(text.substr(i));
    const char c = text[i];
    const bool line_break = c == '\n' || (c == '\r' && text.substr(i + 1).starts_with('\n'));
    if (c == '%' && i == line_start) {
      problems.add({"R11",
                    "YAML directives are not part of the recipe language",
                    here(),
                    "delete this line",
                    {}});
    } else if (c == '\t') {
      if (!tab_seen)
        problems.add({"R3", "the file contains a tab", here(), "indent with spaces", {}});
      tab_seen = true;
    } else if (length == 0) {
      problems.add({"R12", "the file is not valid UTF-8", here(), {}, {}});
    } else if (length == 1 && !line_break && (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)) {
      const char* const name = c == '\0' ? "NUL" : c == '\r' ? "carriage return" : "control";
      problems.add({"R12", concat("the file contains a ", name, " character"), here(), {}, {}});
    }
    i += std::max<std::size_t>(length, 1);
    if (c == '\n') {
      ++line;
      line_start = i;
    }
  }
  return problems.empty();
}

/// Builds the tree and refuses what the language leaves out of YAML.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, Problems& problems) : text_(text), problems_(problems) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ > 1) {
      problems_.add({"R4",
                     "the file holds more than one document",
                     place_of(mark, 3),
                     "one recipe per file",
                     {}});
      problems_.fail();
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_properties(mark, "?", anchor);
    YamlNode node;
    node.at = place_of(mark, 1);
    if (wants_key()) refuse_key(node.at);
    put(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    problems_.add({"R11",
                   "aliases (*name) are not part of the recipe language",
                   place_of(mark, 1),
                   "write the value out",
                   {}});
    problems_.fail();
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_properties(mark, tag, anchor);
    YamlNode node;
    node.kind = YamlNode::Kind::Scalar;
    node.text = value;
    node.quoted = tag == "!";
    node.at = place_of(mark, value.size() + (node.quoted ? 2 : 0));
    if (wants_key()) {
      start_entry(node);
    } else {
      put(std::move(node));
    }
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::List);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::Map);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Frame {
    YamlNode*
        node;  // a parent only grows at its end after its last child is closed, so this stays valid
    bool value_next = false;
    std::unordered_map<std::string, SourceSpan> keys;
  };

  SourceSpan place_of(const YAML::Mark& mark, std::size_t length) const {
    return problems_.span(static_cast<std::size_t>(std::max(mark.line, 0)),
                          static_cast<std::size_t>(std::max(mark.column, 0)), length);
  }

  bool wants_key() const {
    return !open_.empty() && open_.back().node->kind == YamlNode::Kind::Map &&
           !open_.back().value_next;
  }

  [[noreturn]] void refuse_key(const SourceSpan& at) {
    problems_.add({"R11", "a key must be text", at, {}, {}});
    problems_.fail();
  }

  void refuse_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) {
      problems_.add({"R11",
                     "anchors (&name) are not part of the recipe language",
                     place_of(mark, 1),
                     {},
                     {}});
    }
    const auto byte = static_cast<std::size_t>(std::max(mark.pos, 0));
    const bool bare_tag = tag == "!" && byte < text_.size() && text_[byte] == '!';
    if ((!tag.empty() && tag != "?" && tag != "!") || bare_tag) {
      problems_.add({"R11",
                     concat("tags (", printable(tag), ") are not part of the recipe language"),
                     place_of(mark, 1),
                     {},
                     {}});
    }
  }

  void start_entry(const YamlNode& key) {
    Frame& frame = open_.back();
    if (key.text == "<<" && !key.quoted) {
      problems_.add({"R11", "merge keys (<<) are not part of the recipe language", key.at, {}, {}});
    }
    const auto [earlier, fresh] = frame.keys.emplace(key.text, key.at);
    if (!fresh) {
      problems_.add({"R5",
                     concat("key ", backquoted(key.text), " appears twice in one map, in lines ",
                            earlier->second.line, " and ", key.at.line),
                     key.at,
                     concat("first in line ", earlier->second.line),
                     {}});
    }
    frame.node->entries.push_back({key.text, key.at, {}});
    frame.value_next = true;
  }

  YamlNode* put(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    Frame& frame = open_.back();
    if (frame.node->kind == YamlNode::Kind::List) {
      frame.node->items.push_back(std::move(node));
      return &frame.node->items.back();
    }
    frame.value_next = false;
    frame.node->entries.back().value = std::move(node);
    return &frame.node->entries.back().value;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    refuse_properties(mark, tag, anchor);
    YamlNode node;
    node.kind = kind;
    node.at = place_of(mark, 1);
    if (wants_key()) refuse_key(node.at);
    if (open_.size() == kDepthLimit) {
      problems_.add(
          {"R12", concat("nested deeper than ", kDepthLimit, " levels"), node.at, {}, {}});
      problems_.fail();
    }
    YamlNode* const placed = put(std::move(node));
    open_.push_back({placed, false, {}});
  }

  std::string_view text_;
  Problems& problems_;
  YamlNode root_;
  std::vector<Frame> open_;
  int num_documents_ = 0;
};

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

SourceSpan YamlNode::key_at(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return entry.key_at;
  }
  return at;
}

YamlNode read_nodes(std::string_view text, Problems& problems) {
  if (!check_bytes(text, problems)) problems.fail();
  TreeBuilder builder(text, problems);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::ParserException& error) {
    const SourceSpan at =
        problems.span(static_cast<std::size_t>(std::max(error.mark.line, 0)),
                      static_cast<std::size_t>(std::max(error.mark.column, 0)), 1);
    problems.add({"R2", concat("not YAML: ", printable(error.msg)), at, {}, {}});
    problems.fail();
  }
  return builder.take();
}

}  // namespace edgecompress
