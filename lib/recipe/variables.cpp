#include "recipe/variables.h"

#include <map>

#include "base/error.h"
#include "base/suggest.h"
#include "recipe/merge.h"

namespace edgecompress {
namespace {

constexpr std::string_view kStart = "${vars.";

class Substitution {
 public:
  Substitution(const YamlNode& vars, Problems& problems) : problems_(problems) {
    for (const YamlNode::Entry& entry : vars.entries) {
      if (entry.value.kind == YamlNode::Kind::Scalar) {
        values_.emplace(entry.key, &entry.value);
        continue;
      }
      problems.add(
          {"R9", concat("vars.", entry.key, " must be a single value"), entry.value.at, {}, {}});
    }
  }

  void run(YamlNode& node) {
    if (node.kind == YamlNode::Kind::Scalar) return scalar(node);
    for (YamlNode& item : node.items) run(item);
    for (YamlNode::Entry& entry : node.entries) {
      if (!entry.key.starts_with("x-")) run(entry.value);
    }
  }

 private:
  void scalar(YamlNode& node) {
    std::string out;
    std::string_view rest = node.text;
    bool replaced = false;
    for (std::size_t at = rest.find(kStart); at != rest.npos; at = rest.find(kStart)) {
      const std::size_t end = rest.find('}', at);
      const std::string name(
          rest.substr(at + kStart.size(), std::min(end, rest.size()) - at - kStart.size()));
      const auto value = values_.find(name);
      if (end == rest.npos || value == values_.end()) return refuse(node, name);
      const bool whole = at == 0 && end + 1 == rest.size() && !replaced;
      node.quoted = whole ? value->second->quoted : node.quoted || value->second->quoted;
      out += std::string(rest.substr(0, at)) + value->second->text;
      rest.remove_prefix(end + 1);
      replaced = true;
    }
    if (replaced) node.text = out + std::string(rest);
  }

  void refuse(const YamlNode& node, const std::string& name) {
    std::vector<std::string> names;
    for (const auto& [known, value] : values_) names.push_back(known);
    const std::string guess = nearest(name, names);
    problems_.add({"R6",
                   concat("unknown variable ", backquoted(name)),
                   node.at,
                   guess.empty() ? "" : concat("did you mean `", guess, "`?"),
                   {names.empty() ? "the recipe has no vars" : concat("vars: ", joined(names))}});
  }

  Problems& problems_;
  std::map<std::string, const YamlNode*, std::less<>> values_;
};

}  // namespace

bool put_variables_in(YamlNode& root, Problems& problems) {
  const YamlNode* const found = root.find("vars");
  const YamlNode vars = found == nullptr ? YamlNode{} : *found;
  if (found != nullptr && vars.kind != YamlNode::Kind::Map) {
    problems.add({"R9", "vars must be a map of names and values", vars.at, {}, {}});
  }
  remove_key(root, "vars");
  Substitution(vars, problems).run(root);
  return found != nullptr;
}

}  // namespace edgecompress
