#include "recipe/target_patterns.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/pcre2_handles.h"
#include "recipe/recipe.h"

namespace edgecompress {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
constexpr std::size_t kPatternLimit = 1000;      // bytes
constexpr std::size_t kAlternativesLimit = 256;  // globs that {a,b} may stand for
constexpr std::uint32_t kMatchLimit =
    100'000;  // PCRE2's backtracking steps; a name needs some hundred
constexpr std::uint32_t kDepthLimit = 1'000;
constexpr std::uint32_t kHeapLimitKib = 1'024;
constexpr std::uint32_t kParenthesesLimit = 50;

std::string pcre2_message(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct Compiled {
  Pcre2Handle<pcre2_code> code;
  std::string complaint;
};

Compiled compile_regex(std::string_view regex) {
  const auto context = pcre2_owned(pcre2_compile_context_create(nullptr));
  pcre2_set_parens_nest_limit(context.get(), kParenthesesLimit);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // UTF also turns off \C, which could stop inside a character
  Pcre2Handle<pcre2_code> code(pcre2_compile(pcre2_units(regex), regex.size(),
                                             PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED |
                                                 PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE,
                                             &error, &offset, context.get()));
  if (code) return {std::move(code), {}};
  refuse_pcre2_without_memory(error);
  return {nullptr, concat("not a regular expression: ", pcre2_message(error), ", at character ",
                          offset + 1)};
}

bool regex_matches(std::string_view regex, std::string_view module) {
  const Compiled compiled = compile_regex(regex);
  if (!compiled.code)
    throw Error(ErrorKind::Usage, "R16", concat("pattern `re:", regex, "`: ", compiled.complaint));
  const auto limits = pcre2_owned(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(limits.get(), kMatchLimit);
  pcre2_set_depth_limit(limits.get(), kDepthLimit);
  pcre2_set_heap_limit(limits.get(), kHeapLimitKib);
  const auto data = pcre2_owned(pcre2_match_data_create_from_pattern(compiled.code.get(), nullptr));
  const int result = pcre2_match(compiled.code.get(), pcre2_units(module), module.size(), 0, 0,
                                 data.get(), limits.get());
  if (result == PCRE2_ERROR_NOMATCH) return false;
  refuse_pcre2_without_memory(result);
  if (result < 0) {
    throw Error(ErrorKind::Usage, "R16",
                concat("pattern `re:", regex, "` cannot be matched against ", module, ": ",
                       pcre2_message(result), "; write it without nested repetition"));
  }
  return true;
}

/// The globs that the {a,b} of one stands for; nothing when braces do not pair or there are too
/// many.
std::optional<std::vector<std::string>> expand_braces(std::string_view glob) {
  std::vector<std::string> out{""};
  while (!glob.empty()) {
    const std::size_t open = std::min(glob.find_first_of("{}"), glob.size());
    for (std::string& text : out) text += glob.substr(0, open);
    glob.remove_prefix(open);
    if (glob.empty()) break;
    const std::size_t close = glob.find('}');
    if (glob[0] == '}' || close == std::string_view::npos) return {};
    std::string_view inside = glob.substr(1, close - 1);
    if (inside.find('{') != std::string_view::npos) return {};
    glob.remove_prefix(close + 1);
    std::vector<std::string> longer;
    for (bool more = true; more;) {
      const std::size_t comma = inside.find(',');
      more = comma != std::string_view::npos;
      for (const std::string& text : out) longer.push_back(concat(text, inside.substr(0, comma)));
      if (more) inside.remove_prefix(comma + 1);
      if (longer.size() > kAlternativesLimit) return {};
    }
    out = std::move(longer);
  }
  return out;
}

/// `*` is any run of characters, `?` any one; goes back to the last star only, so time is |glob| *
/// |name| at most.
bool wildcard_matches(std::string_view glob, std::string_view name) {
  std::size_t g = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_end = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      star_end = n;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == name[n])) {
      ++g;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      n = ++star_end;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

bool any_matches(const std::vector<std::string>& patterns, const std::string& module) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return pattern_matches(pattern, module); });
}

}  // namespace

std::string target_pattern_complaint(std::string_view pattern) {
  if (pattern.empty()) return "it is empty";
  if (pattern.size() > kPatternLimit) return concat("longer than ", kPatternLimit, " bytes");
  if (pattern.starts_with(kRegexPrefix))
    return compile_regex(pattern.substr(kRegexPrefix.size())).complaint;
  if (pattern.find_first_of("[]()^$|+\\ ") != std::string_view::npos) {
    return "a glob knows * ? and {a,b} only; write re: in front of a regular expression";
  }
  if (!expand_braces(pattern)) {
    return concat("{ and } must pair, must not nest and may stand for at most ", kAlternativesLimit,
                  " globs");
  }
  return {};
}

bool pattern_matches(std::string_view pattern, std::string_view module) {
  if (pattern.starts_with(kRegexPrefix))
    return regex_matches(pattern.substr(kRegexPrefix.size()), module);
  const auto globs = expand_braces(pattern);
  if (!globs)
    throw Error(ErrorKind::Usage, "R16",
                concat("pattern `", pattern, "`: ", target_pattern_complaint(pattern)));
  return std::any_of(globs->begin(), globs->end(),
                     [&](const std::string& glob) { return wildcard_matches(glob, module); });
}

bool targets(const TargetPatterns& patterns, const std::string& module) {
  return any_matches(patterns.match, module) && !any_matches(patterns.except, module);
}

}  // namespace edgecompress
