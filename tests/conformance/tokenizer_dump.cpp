// The tokenizer for tokenizer_conformance.py and genai_tokenizer.py. Arguments: the folder of a
// tokenizer.json, --unassigned, or --genai and a folder.
//
// Reads texts from standard input, each as its number of bytes (little-endian 32 bits) and the
// bytes. Writes for each the ids with special tokens, the ids without, and the text that decoding
// the former gives; lists and the text each as a 32-bit length and their elements.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <pcre2.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "tokenizer/genai_differences.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace {

void write_length(std::size_t length) {
  const auto word = static_cast<std::uint32_t>(length);
  std::cout.write(reinterpret_cast<const char*>(&word), sizeof word);
}

void write_ids(const std::vector<std::int32_t>& ids) {
  write_length(ids.size());
  std::cout.write(reinterpret_cast<const char*>(ids.data()),
                  static_cast<std::streamsize>(ids.size() * sizeof(std::int32_t)));
}

void dump(const std::string& folder) {
  using edgecompress::SpecialTokens;
  const auto tokenizer = edgecompress::Tokenizer::open(folder);
  std::uint32_t length = 0;
  std::string text;
  while (std::cin.read(reinterpret_cast<char*>(&length), sizeof length)) {
    text.resize(length);
    std::cin.read(text.data(), static_cast<std::streamsize>(length));
    const std::vector<std::int32_t> ids = tokenizer.encode(text, SpecialTokens::Add);
    write_ids(ids);
    write_ids(tokenizer.encode(text, SpecialTokens::Leave));
    const std::string decoded = tokenizer.decode(ids);
    write_length(decoded.size());
    std::cout << decoded;
    std::cout.flush();
  }
}

/// Prints the texts that onnxruntime-genai encodes differently, one a line, as JSON.
void print_genai_differences(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  const std::string json = edgecompress::read_text_file(path, std::uint64_t{1} << 30);
  for (const auto& difference : edgecompress::genai_differences(json, path)) {
    std::cout << nlohmann::json(difference.text).dump(-1, ' ', true) << '\n';
  }
}

/// Prints the code points that this PCRE2 calls unassigned, one a line.
void print_unassigned() {
  int error = 0;
  std::size_t at = 0;
  const std::string pattern = "\\p{Cn}";
  pcre2_code* const code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr);
  pcre2_match_data* const match = pcre2_match_data_create(1, nullptr);
  for (char32_t c = 0x80; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    edgecompress::tokenizer_internal::append_utf8(text, c);
    const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                                  0, match, nullptr);
    if (found > 0) std::cout << static_cast<std::uint32_t>(c) << '\n';
  }
  pcre2_match_data_free(match);
  pcre2_code_free(code);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  try {
    if (argc == 3 && std::string(argv[1]) == "--genai") {
      print_genai_differences(argv[2]);
    } else if (std::string(argv[1]) == "--unassigned") {
      print_unassigned();
    } else {
      dump(argv[1]);
    }
  } catch (const edgecompress::Error& failure) {
    std::cerr << failure.code() << ": " << failure.what() << '\n';
    return 1;
  }
}
