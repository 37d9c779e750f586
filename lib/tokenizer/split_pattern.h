#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace edgecompress::tokenizer_internal {

/// A pre-tokenizer's regular expression, written for Oniguruma (Ruby syntax) and run by PCRE2.
///
/// Only constructs that mean the same in both are taken. One difference is left: which characters
/// are letters and digits is what the installed PCRE2's Unicode version says.
class SplitPattern {
 public:
  /// Throws Error{Malformed, "T13"}.
  explicit SplitPattern(const std::string& pattern);
  ~SplitPattern();
  SplitPattern(SplitPattern&&) noexcept;
  SplitPattern& operator=(SplitPattern&&) noexcept;

  /// Returns every match and every gap between matches, in order; an empty match only ends a gap.
  /// text: valid UTF-8. Throws Error{Malformed, "T13"} when the match limit is reached.
  /// Thread-safe.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Rewrites a pattern so that PCRE2 means what Oniguruma means. Throws Error{Malformed, "T13"},
/// naming the construct, for all that is not known to be the same.
std::string pattern_for_pcre2(const std::string& pattern);

}  // namespace edgecompress::tokenizer_internal
