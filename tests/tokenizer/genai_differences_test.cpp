#include "tokenizer/genai_differences.h"

#include <algorithm>

#include "small_tokenizers.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> texts(const Json& document) {
  std::vector<std::string> out;
  for (const GenaiDifference& difference : genai_differences(document.dump(), "x")) {
    CHECK_FALSE(difference.reason.empty());
    out.push_back(difference.text);
  }
  return out;
}

Json small_byte_level(const Json& pre_tokenizer) {
  Json document = small_sentencepiece_like();
  document["normalizer"] = nullptr;
  document["decoder"] = {{"type", "ByteLevel"}};
  document["pre_tokenizer"] = pre_tokenizer;
  return document;
}

Json byte_level(bool prefix, bool regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"use_regex", regex}};
}

const Json kSplit{{"type", "Split"},
                  {"pattern",
                   {{"Regex", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
                              R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
                  {"behavior", "Isolated"},
                  {"invert", false}};

TEST_CASE("only merges that onnxruntime-genai cuts make a Llama 2 tokenizer differ") {
  Json document = small_sentencepiece_like();
  CHECK(texts(document) == std::vector<std::string>{"▁▁a"});  // it has the merge of ▁ and a
  document["model"]["merges"] = {"b c", "a b", "a bc"};
  CHECK(texts(document).empty());
  document["model"]["vocab"]["t"] = 500;
  document["model"]["vocab"]["d"] = 501;
  document["model"]["vocab"]["td"] = 502;
  document["model"]["merges"] = {"d t", "t d"};
  CHECK(texts(document) == std::vector<std::string>{"don'td"});
}

TEST_CASE("what a Llama 2 tokenizer leaves out makes it differ") {
  Json document = small_sentencepiece_like();
  document["model"]["merges"] = {"b c"};
  SECTION("the decoder that tells onnxruntime-genai its kind") {
    document["decoder"] = {{"type", "Metaspace"}};
    CHECK(texts(document) == std::vector<std::string>{"a b"});
  }
  SECTION("the space before the text") {
    document["normalizer"] = document["normalizer"]["normalizers"][1];
    CHECK(texts(document) == std::vector<std::string>{"a"});
  }
  SECTION("byte fallback") {
    document["model"]["byte_fallback"] = false;
    CHECK(texts(document) == std::vector<std::string>{"\U0010FFFD"});
  }
}

TEST_CASE("byte-level tokenizers differ by prefix and pattern") {
  const Json plain = byte_level(false, false);
  const auto sequence = [](const Json& split, const Json& bytes) {
    return small_byte_level({{"type", "Sequence"}, {"pretokenizers", {split, bytes}}});
  };
  Json other = kSplit;
  other["pattern"]["Regex"] = "a";
  CHECK(texts(sequence(kSplit, plain)).empty());
  CHECK(texts(small_byte_level(byte_level(false, true))).empty());
  CHECK(texts(small_byte_level(byte_level(true, true))) == std::vector<std::string>{"a"});
  CHECK(texts(sequence(other, plain)) == std::vector<std::string>{""});
  CHECK(texts(small_byte_level(plain)) == std::vector<std::string>{""});
}

TEST_CASE("options of added tokens make a tokenizer differ, each shown once") {
  Json document = small_sentencepiece_like();
  document["model"]["merges"] = {"b c"};
  for (Json& token : document["added_tokens"]) token["lstrip"] = true;
  CHECK(texts(document) == std::vector<std::string>{"a <unk> a"});
  document["added_tokens"][1]["normalized"] = true;
  CHECK(texts(document) == std::vector<std::string>{"a <unk> a", "x<s>x"});
}

}  // namespace
}  // namespace edgecompress
