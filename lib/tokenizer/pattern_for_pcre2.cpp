#include <algorithm>
#include <array>

#include "tokenizer/split_pattern.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

// Unicode's White_Space. PCRE2's own \s also takes U+180E, which lost the property in Unicode 6.3.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// Names of scripts are left out: since 10.40 PCRE2 takes Script_Extensions for them.
constexpr std::array<std::string_view, 36> kCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
    "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
    "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn"};

class Translator {
 public:
  explicit Translator(const std::string& pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else {
        character(c);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse_construct(const std::string& construct) const {
    refuse("T13", "pre_tokenizer: pattern \"", pattern_, "\": ", construct, " at byte ", at_,
           " is not supported");
  }

  bool next_is(std::string_view text) const {
    return std::string_view(pattern_).substr(at_).starts_with(text);
  }

  void copy(std::size_t count) {
    out_.append(pattern_, at_, count);
    at_ += count;
  }

  void escape() {
    if (at_ + 1 == pattern_.size()) refuse_construct("a trailing backslash");
    const char c = pattern_[at_ + 1];
    const bool letter_or_digit =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == 's' || (c == 'S' && !in_class_)) {
      out_ += in_class_ ? std::string(kSpace) : concat(c == 's' ? "[" : "[^", kSpace, "]");
      at_ += 2;
    } else if (c == 'p' || c == 'P') {
      property();
    } else if (std::string_view("rntfdD").find(c) != std::string_view::npos || !letter_or_digit) {
      copy(1 + utf8_length(c));
    } else {
      refuse_construct(concat("\\", c));
    }
  }

  void property() {
    const std::size_t end = pattern_.find('}', at_);
    if (end == std::string::npos || !std::string_view(pattern_).substr(at_ + 2).starts_with("{")) {
      refuse_construct("\\p without {name}");
    }
    std::string_view name(pattern_.data() + at_ + 3, end - at_ - 3);
    if (name.starts_with("^")) name.remove_prefix(1);
    if (std::find(kCategories.begin(), kCategories.end(), name) == kCategories.end()) {
      refuse_construct(concat("property {", name, "}"));
    }
    copy(end + 1 - at_);
  }

  void class_character(char c) {
    if (c == '[') refuse_construct("[ inside a class");
    if (next_is("&&")) refuse_construct("&& inside a class");
    if (c == ']') in_class_ = false;
    copy(utf8_length(c));
  }

  void character(char c) {
    switch (c) {
      case '[':
        return open_class();
      case '(':
        return open_group();
      case '{':
        return interval();
      case '^':
      case '$':
      case ']':
        refuse_construct(std::string(1, c));
      default:
        copy(utf8_length(c));
    }
  }

  void open_class() {
    in_class_ = true;
    copy(next_is("[^") ? 2 : 1);
    if (next_is("]")) refuse_construct("] first in a class");
  }

  void open_group() {
    if (next_is("(*")) refuse_construct("(*");
    if (!next_is("(?")) return copy(1);
    for (const std::string_view known : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (next_is(known)) return copy(known.size());
    }
    refuse_construct("this kind of group");
  }

  /// {n}, {n,} and {n,m}. What follows one must be no quantifier: {n}? and {n}+ mean other things
  /// in Ruby.
  void interval() {
    const std::size_t start = at_;
    std::size_t end = at_ + 1;
    const auto digits = [&] {
      const std::size_t first = end;
      while (end < pattern_.size() && pattern_[end] >= '0' && pattern_[end] <= '9') ++end;
      return end > first;
    };
    bool good = digits();
    if (end < pattern_.size() && pattern_[end] == ',') {
      ++end;
      digits();
    }
    good = good && end < pattern_.size() && pattern_[end] == '}';
    if (!good) refuse_construct("{ that starts no {n}, {n,} or {n,m}");
    copy(end + 1 - start);
    if (next_is("?") || next_is("+") || next_is("*") || next_is("{")) {
      refuse_construct("a quantifier after a quantifier");
    }
  }

  const std::string& pattern_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

std::string pattern_for_pcre2(const std::string& pattern) { return Translator(pattern).run(); }

}  // namespace edgecompress::tokenizer_internal
