#include "tokenizer/characters.h"

#include <memory>
#include <string>

#include "base/error.h"
#include "base/pcre2_handles.h"
#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

bool is_word_character(std::string_view character) {
  static const Pcre2Handle<pcre2_code> code([] {
    constexpr std::string_view kWord = R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])";
    int error = 0;
    std::size_t at = 0;
    pcre2_code* const compiled =
        pcre2_compile(pcre2_units(kWord), kWord.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED,
                      &error, &at, nullptr);
    if (compiled == nullptr) refuse_pcre2_without_memory(error);
    return compiled;
  }());
  ensure(code != nullptr, "PCRE2 to know the property Alphabetic");
  const auto match = pcre2_owned(pcre2_match_data_create(1, nullptr));
  const int found = pcre2_match(code.get(), pcre2_units(character), character.size(), 0,
                                PCRE2_NO_UTF_CHECK, match.get(), nullptr);
  refuse_pcre2_without_memory(found);
  return found >= 0;
}

bool is_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view last_character(std::string_view text) {
  std::size_t start = text.size() - 1;
  while ((static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return text.substr(start);
}

}  // namespace

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word_character(last_character(text));
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word_character(text.substr(0, utf8_length(text[0])));
}

std::size_t space_at_end(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view last = last_character(rest);
    if (!is_space(utf8_code_point(last, 0))) break;
    rest.remove_suffix(last.size());
  }
  return text.size() - rest.size();
}

std::size_t space_at_start(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && is_space(utf8_code_point(text, at))) at += utf8_length(text[at]);
  return at;
}

}  // namespace edgecompress::tokenizer_internal
