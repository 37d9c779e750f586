#include "recipe/merge.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"

namespace edgecompress {
namespace {

YamlNode::Entry* entry_of(YamlNode& map, std::string_view key) {
  for (YamlNode::Entry& entry : map.entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

std::string text_of(const YamlNode& map, std::string_view key) {
  const YamlNode* const value = map.find(key);
  return value == nullptr ? std::string() : value->text;
}

void merge_value(YamlNode& base, const YamlNode& own) {
  if (base.kind != YamlNode::Kind::Map || own.kind != YamlNode::Kind::Map) {
    base = own;
    return;
  }
  for (const YamlNode::Entry& entry : own.entries) {
    YamlNode::Entry* const known = entry_of(base, entry.key);
    if (known == nullptr) {
      base.entries.push_back(entry);
    } else {
      known->key_at = entry.key_at;
      merge_value(known->value, entry.value);
    }
  }
}

class StepMerge {
 public:
  StepMerge(std::vector<YamlNode>& steps, Problems& problems) : steps_(steps), problems_(problems) {
    for (const YamlNode& step : steps) inherited_.insert(text_of(step, "id"));
  }

  void add(const YamlNode& own) {
    const std::string id = text_of(own, "id");
    YamlNode step = own;
    remove_key(step, "remove");
    remove_key(step, "after");
    // a second step of this file with the same id stays a step of its own, which is refused later
    const bool known = inherited_.erase(id) > 0;
    const YamlNode* const remove = own.find("remove");
    if (remove != nullptr && remove->text == "true") return take_out(id, known, own);
    if (known) {
      merge_value(*find(id), step);
    } else if (const YamlNode* const after = own.find("after")) {
      insert_after(*after, std::move(step));
    } else {
      steps_.push_back(std::move(step));
    }
  }

 private:
  std::vector<YamlNode>::iterator find(const std::string& id) {
    return std::find_if(steps_.begin(), steps_.end(),
                        [&](const YamlNode& step) { return text_of(step, "id") == id; });
  }

  std::string known_ids() const {
    std::vector<std::string> ids;
    for (const YamlNode& step : steps_) ids.push_back(text_of(step, "id"));
    return ids.empty() ? "there are no steps before this one" : concat("steps: ", joined(ids));
  }

  void take_out(const std::string& id, bool known, const YamlNode& own) {
    if (known) {
      steps_.erase(find(id));
      return;
    }
    problems_.add({"R13",
                   concat("there is no step ", backquoted(id), " to remove"),
                   own.key_at("remove"),
                   {},
                   {known_ids()}});
  }

  void insert_after(const YamlNode& after, YamlNode step) {
    const auto place = find(after.text);
    if (place != steps_.end()) {
      steps_.insert(place + 1, std::move(step));
      return;
    }
    problems_.add({"R13",
                   concat("there is no step ", backquoted(after.text), " to stand behind"),
                   after.at,
                   {},
                   {known_ids()}});
  }

  std::vector<YamlNode>& steps_;
  Problems& problems_;
  std::set<std::string> inherited_;
};

}  // namespace

void remove_key(YamlNode& map, std::string_view key) {
  std::erase_if(map.entries, [&](const YamlNode::Entry& entry) { return entry.key == key; });
}

void merge_recipe(YamlNode& base, const YamlNode& own, Problems& problems) {
  if (own.kind != YamlNode::Kind::Map) {
    base = own;  // no recipe, which is said when its shape is checked
    return;
  }
  for (const YamlNode::Entry& entry : own.entries) {
    const bool steps = entry.key == "steps" && entry.value.kind == YamlNode::Kind::List;
    YamlNode::Entry* known = entry_of(base, entry.key);
    if (!steps) {
      if (known == nullptr) {
        base.entries.push_back(entry);
      } else {
        known->key_at = entry.key_at;
        merge_value(known->value, entry.value);
      }
      continue;
    }
    if (known == nullptr) {
      base.entries.push_back({entry.key, entry.key_at, {}});
      known = &base.entries.back();
    }
    known->value.kind = YamlNode::Kind::List;
    known->value.at = entry.value.at;
    StepMerge merge(known->value.items, problems);
    for (const YamlNode& step : entry.value.items) merge.add(step);
  }
}

}  // namespace edgecompress
