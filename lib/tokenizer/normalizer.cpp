#include "tokenizer/normalizer.h"

#include "tokenizer/tokenizer_json.h"

namespace edgecompress::tokenizer_internal {

using Json = nlohmann::ordered_json;

std::string Replacement::apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  std::size_t done = 0;
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, done)) {
    out.append(text.substr(done, at - done)).append(to);
    done = at + from.size();
  }
  return out.append(text.substr(done));
}

Replacement read_replacement(const Json& part, const char* role) {
  const Json& pattern = field(part, "pattern");
  const Json& from = field(pattern, "String");
  if (field(pattern, "Regex").is_string()) {
    refuse_unsupported("T14", role,
                       " Replace with a regular expression is not supported; only \"String\" is");
  }
  if (!from.is_string() || from.get_ref<const std::string&>().empty()) {
    refuse("T14", role, " Replace: \"pattern\" must be {\"String\": text}, not empty");
  }
  return {from.get<std::string>(), text_field(part, "content")};
}

Normalizer::Normalizer(const Json& part) {
  for_each_part(part, "normalizer", "normalizers", [&](const Json& step, const std::string& type) {
    if (type == "Prepend") {
      steps_.push_back({text_field(step, "prepend"), {}});
    } else if (type == "Replace") {
      steps_.push_back({{}, read_replacement(step, "normalizer")});
    } else {
      refuse_unsupported("T14", "normalizer ", type,
                         " is not supported; Prepend, Replace and Sequence are");
    }
  });
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    if (!step.replace.from.empty()) {
      out = step.replace.apply(out);
    } else if (!out.empty()) {
      out.insert(0, step.prepend);
    }
  }
  return out;
}

}  // namespace edgecompress::tokenizer_internal
