#include "tokenizer/byte_level.h"

#include <array>

#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

// GPT-2, encoder.py, bytes_to_unicode: printable Latin-1 stands for itself; the other 68 bytes, in
// order, are U+0100 and following.
constexpr std::size_t kCharacters = 0x100 + 68;

constexpr bool is_printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<std::string, 256> character;
  std::array<int, kCharacters> byte{};
};

const Tables& tables() {
  static const Tables result = [] {
    Tables built;
    built.byte.fill(-1);
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const unsigned code_point = is_printable(byte) ? byte : next++;
      append_utf8(built.character[byte], static_cast<char32_t>(code_point));
      built.byte[code_point] = static_cast<int>(byte);
    }
    return built;
  }();
  return result;
}

}  // namespace

std::string bytes_to_characters(std::string_view bytes) {
  const Tables& table = tables();
  std::string out;
  out.reserve(2 * bytes.size());
  for (const char byte : bytes) out += table.character[static_cast<unsigned char>(byte)];
  return out;
}

std::optional<std::string> characters_to_bytes(std::string_view characters) {
  const Tables& table = tables();
  std::string out;
  for (std::size_t at = 0; at < characters.size(); at += utf8_length(characters[at])) {
    const char32_t code_point = utf8_code_point(characters, at);
    if (code_point >= kCharacters || table.byte[code_point] < 0) return std::nullopt;
    out += static_cast<char>(table.byte[code_point]);
  }
  return out;
}

}  // namespace edgecompress::tokenizer_internal
