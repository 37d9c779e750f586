#include "report/html_text.h"

#include <cstdint>

#include "report/text_numbers.h"

namespace edgecompress {
namespace {

/// The character that `text` starts with and how many bytes it has; a wrong byte counts as itself.
struct Character {
  std::uint32_t code = 0;
  std::size_t length = 1;
};

Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
  if (length == 1 || byte(0) < 0xC2 || length > text.size()) return {byte(0), 1};
  std::uint32_t code = byte(0) & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {byte(0), 1};
    code = code << 6 | (byte(i) & 0x3FU);
  }
  return {code, length};
}

/// Control characters, and marks that reorder or hide what stands beside them.
bool is_hidden(std::uint32_t code, std::size_t length) {
  return (code < 0x20 && code != '\n') || code == 0x7F || (length == 1 && code >= 0x80) ||
         (code >= 0x80 && code < 0xA0) || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x2069) || code == 0xFEFF;
}

template <typename Replace>
std::string escaped(std::string_view text, const Replace& replace) {
  std::string out;
  while (!text.empty()) {
    const Character character = first_character(text);
    if (is_hidden(character.code, character.length)) {
      out += formatted("\\u%04x", character.code);
    } else {
      out += replace(text.substr(0, character.length));
    }
    text.remove_prefix(character.length);
  }
  return out;
}

}  // namespace

std::string html_escaped(std::string_view text) {
  return escaped(text, [](std::string_view character) -> std::string {
    switch (character[0]) {
      case '&':
        return "&amp;";
      case '<':
        return "&lt;";
      case '>':
        return "&gt;";
      case '"':
        return "&quot;";
      case '\'':
        return "&#39;";
      default:
        return std::string(character);
    }
  });
}

std::string markdown_escaped(std::string_view text) {
  return escaped(text, [](std::string_view character) -> std::string {
    if (character == "\n") return " ";
    if (character == "<") return "&lt;";
    if (character == "&") return "&amp;";
    constexpr std::string_view kMarks = "\\`*_[]()|#!>~";
    const bool mark = kMarks.find(character) != std::string_view::npos;
    return mark ? "\\" + std::string(character) : std::string(character);
  });
}

}  // namespace edgecompress
