#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/catch.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

const fs::path kMini = fs::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama";
const fs::path kLlama2 = fs::path(EDGECOMPRESS_SHARED_DATA) / "tokenizers/llama2";

bool present(const fs::path& folder) {
  if (fs::exists(folder)) return true;
  WARN("skipped: ../shared/data is absent");
  return false;
}

std::string repeated(const std::string& unit, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

TEST_CASE("mini-llama's tokenizer gives the ids of Hugging Face's tokenizers 0.23.3") {
  const Tokenizer tokenizer = Tokenizer::open(kMini);
  CHECK(tokenizer.vocabulary_size() == 2048);
  CHECK(tokenizer.encode("It's 12345 o'clock, and the king was pleased.", SpecialTokens::Add) ==
        Ids{2032, 1067, 387, 220, 1263, 18,  19,  20,   262, 6, 612,
            845,  11,   288, 260, 408,  289, 304, 1651, 778, 13});
  CHECK(tokenizer.encode("  two\n\n  lines\t", SpecialTokens::Add) ==
        Ids{2032, 220, 661, 357, 220, 299, 1012, 197});
  CHECK(tokenizer.encode("café 中文", SpecialTokens::Add) ==
        Ids{2032, 66, 1865, 1091, 220, 160, 116, 255, 162, 244, 229});
  CHECK(tokenizer.encode("a<|end_of_text|> b", SpecialTokens::Add) == Ids{2032, 64, 2033, 273});
}

TEST_CASE("every text comes back from byte-level ids") {
  const Tokenizer tokenizer = Tokenizer::open(kMini);
  std::string text = "<|begin_of_text|>";
  for (const char* part :
       {"It's 12345 o'clock.\r\n\r\n", "  \t x ", "日本語 Привет e\u0301", "\U0001F600\u0000"})
    text += part;
  CHECK(tokenizer.decode(tokenizer.encode(text, SpecialTokens::Leave)) == text);
}

TEST_CASE("Llama 2's tokenizer gives the published ids") {
  if (!present(kLlama2)) return;
  const auto published = nlohmann::json::parse(std::ifstream(kLlama2 / "llama_encoded.json"));
  const Tokenizer tokenizer = Tokenizer::open(kLlama2);
  CHECK(tokenizer.encode(published["text"].get<std::string>(), SpecialTokens::Add) ==
        published["token_ids"].get<Ids>());
}

TEST_CASE("a long run of one character is encoded in full") {
  const std::string unit = GENERATE(as<std::string>{}, "a", " ", "\n", "\u4E2D", "0", "<");
  const std::string text = repeated(unit, std::size_t{1} << 20);
  const Tokenizer byte_level = Tokenizer::open(kMini);
  CHECK(byte_level.decode(byte_level.encode(text, SpecialTokens::Leave)) == text);
  if (!present(kLlama2)) return;
  const Tokenizer sentencepiece_like = Tokenizer::open(kLlama2);
  CHECK(sentencepiece_like.decode(sentencepiece_like.encode(text, SpecialTokens::Leave)) == text);
}

}  // namespace
}  // namespace edgecompress
