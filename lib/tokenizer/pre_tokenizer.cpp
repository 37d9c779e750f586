#include "tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "tokenizer/byte_level.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

using Json = nlohmann::ordered_json;

// GPT-2, encoder.py: what ByteLevel splits by when use_regex is true.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

SplitPattern read_split(const Json& part) {
  const Json& behavior = field(part, "behavior");
  if (behavior != "Isolated" || boolean_field(part, "invert", false)) {
    refuse_unsupported("T14", "pre_tokenizer Split with behavior ", behavior.dump(-1, ' ', true),
                       " or inverted is not supported; only \"Isolated\" is");
  }
  const Json& pattern = field(field(part, "pattern"), "Regex");
  if (!pattern.is_string()) {
    refuse_unsupported("T14",
                       "pre_tokenizer Split without a pattern {\"Regex\": text} is not supported");
  }
  return SplitPattern(pattern.get<std::string>());
}

}  // namespace

PrependScheme read_prepend_scheme(const Json& part, const char* role) {
  const Json& scheme = field(part, "prepend_scheme");
  const bool prefix = boolean_field(part, "add_prefix_space", true);
  if (!scheme.is_null() && scheme != "always" && scheme != "first" && scheme != "never") {
    refuse("T14", role, " Metaspace: prepend_scheme must be \"always\", \"first\" or \"never\"");
  }
  if (scheme == "never") return PrependScheme::Never;
  if (!prefix)
    refuse("T14", role, " Metaspace: add_prefix_space false contradicts its prepend_scheme");
  return scheme == "first" ? PrependScheme::First : PrependScheme::Always;
}

std::string read_metaspace_character(const Json& part, const char* role) {
  const Json& replacement = field(part, "replacement");
  const std::string text = replacement.is_string() ? replacement.get<std::string>() : std::string();
  if (text.empty() || utf8_length(text[0]) != text.size()) {
    refuse("T14", role, " Metaspace: \"replacement\" must be one character");
  }
  return text;
}

PreTokenizer::PreTokenizer(const Json& part) {
  for_each_part(part, "pre_tokenizer", "pretokenizers",
                [&](const Json& step, const std::string& type) { add_step(step, type); });
}

void PreTokenizer::add_step(const Json& part, const std::string& type) {
  if (type == "Split") {
    steps_.emplace_back(read_split(part));
  } else if (type == "ByteLevel") {
    if (boolean_field(part, "add_prefix_space", true)) steps_.emplace_back(PrefixSpace{});
    if (boolean_field(part, "use_regex", true)) steps_.emplace_back(SplitPattern(kGpt2Pattern));
    steps_.emplace_back(MapBytes{});
  } else if (type == "Metaspace") {
    steps_.emplace_back(Metaspace{read_metaspace_character(part, "pre_tokenizer"),
                                  read_prepend_scheme(part, "pre_tokenizer"),
                                  boolean_field(part, "split", true)});
  } else {
    refuse_unsupported("T14", "pre_tokenizer ", type,
                       " is not supported; Split, ByteLevel, Metaspace and Sequence are");
  }
}

void PreTokenizer::run(std::size_t step, std::string_view piece, bool at_start,
                       const Sink& sink) const {
  if (piece.empty()) return;
  if (step == steps_.size()) return sink(piece);
  const auto& current = steps_[step];
  if (const auto* split = std::get_if<SplitPattern>(&current)) {
    run_split(*split, step, piece, at_start, sink);
  } else if (std::holds_alternative<PrefixSpace>(current)) {
    const bool has_one = piece.front() == ' ';
    run(step + 1, has_one ? piece : std::string_view(concat(' ', piece)), at_start, sink);
  } else if (std::holds_alternative<MapBytes>(current)) {
    run(step + 1, bytes_to_characters(piece), at_start, sink);
  } else {
    run_metaspace(std::get<Metaspace>(current), step, piece, at_start, sink);
  }
}

void PreTokenizer::run_split(const SplitPattern& split, std::size_t step, std::string_view piece,
                             bool at_start, const Sink& sink) const {
  for (const std::string_view part : split.split(piece)) {
    run(step + 1, part, at_start && part.data() == piece.data(), sink);
  }
}

void PreTokenizer::run_metaspace(const Metaspace& metaspace, std::size_t step,
                                 std::string_view piece, bool at_start, const Sink& sink) const {
  std::string text = Replacement{" ", metaspace.character}.apply(piece);
  const bool prepends = metaspace.scheme == PrependScheme::Always ||
                        (metaspace.scheme == PrependScheme::First && at_start);
  if (prepends && !text.starts_with(metaspace.character)) text.insert(0, metaspace.character);
  if (!metaspace.split) return run(step + 1, text, at_start, sink);
  const std::string_view whole = text;
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t end = std::min(whole.find(metaspace.character, begin + 1), whole.size());
    run(step + 1, whole.substr(begin, end - begin), at_start && begin == 0, sink);
    begin = end;
  }
}

}  // namespace edgecompress::tokenizer_internal
