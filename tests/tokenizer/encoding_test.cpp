#include <string>
#include <vector>

#include "base/error.h"
#include "small_tokenizers.h"
#include "support/catch.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;
using Ids = std::vector<std::int32_t>;

Tokenizer make(const Json& document) { return Tokenizer::parse(document.dump(), "small"); }

Ids encode(const Json& document, const std::string& text) {
  return make(document).encode(text, SpecialTokens::Leave);
}

// Ids of small_sentencepiece_like(): ▁ 259, a 260, b 261, c 262, ab 263, bc 264, ▁a 265, abc 266,
// byte x is 3 + x.

TEST_CASE("merges go by rank, then left to right") {
  const Json document = small_sentencepiece_like();
  // "▁abc": bc (rank 0) first, then ▁a (rank 2) before a+bc (rank 3), which needs the same a.
  CHECK(encode(document, "abc") == Ids{265, 264});
  CHECK(encode(document, "babab") == Ids{259, 261, 263, 263});
  CHECK(encode(document, "cabc") == Ids{259, 262, 266});
}

TEST_CASE("a merge listed twice has its last rank") {
  Json document = small_sentencepiece_like();
  document["model"]["merges"].push_back("b c");  // now after a b
  CHECK(encode(document, "cabc") == Ids{259, 262, 263, 262});
}

TEST_CASE("ignore_merges takes a word that is a token as it is") {
  Json document = small_sentencepiece_like();
  document["normalizer"] = nullptr;
  document["model"]["merges"] = Json::array({"a b"});
  CHECK(encode(document, "abc") == Ids{263, 262});
  document["model"]["ignore_merges"] = true;
  CHECK(encode(document, "abc") == Ids{266});
}

TEST_CASE("a character outside the vocabulary becomes its bytes") {
  CHECK(encode(small_sentencepiece_like(), "aé") == Ids{265, 3 + 0xC3, 3 + 0xA9});
}

TEST_CASE("without byte fallback unknown characters become the unknown token, fused if so asked") {
  Json document = small_sentencepiece_like();
  document["model"]["byte_fallback"] = false;
  CHECK(encode(document, "axéb") == Ids{265, 0, 261});
  document["model"]["fuse_unk"] = false;
  CHECK(encode(document, "axéb") == Ids{265, 0, 0, 261});
}

TEST_CASE("an added token is cut out of the text and its neighbours are encoded on their own") {
  CHECK(encode(small_sentencepiece_like(), "a</s>a <s>") == Ids{265, 2, 265, 259, 1});
}

TEST_CASE("the longest of the added tokens that start at one place is taken") {
  Json document = small_sentencepiece_like();
  Json token = document["added_tokens"][1];
  token["id"] = 267;
  token["content"] = "<s>>";
  document["added_tokens"].push_back(token);
  CHECK(encode(document, "<s>><s>") == Ids{267, 1});
}

TEST_CASE("an added token takes white space and minds words as it says") {
  Json document = small_sentencepiece_like();
  document["normalizer"] = nullptr;
  Json& token = document["added_tokens"][1];
  SECTION("lstrip") {
    token["lstrip"] = true;
    CHECK(encode(document, "a \u3000<s> a") == Ids{260, 1, 3 + 0x20, 260});
  }
  SECTION("rstrip") {
    token["rstrip"] = true;
    CHECK(encode(document, "a <s>\n a") == Ids{260, 3 + 0x20, 1, 260});
  }
  SECTION("single_word") {
    token["content"] = "ab";
    token["id"] = 263;
    token["single_word"] = true;
    document["model"]["merges"] = Json::array();  // only the added token gives 263
    CHECK(encode(document, "ab abc") == Ids{263, 3 + 0x20, 260, 261, 262});
  }
  SECTION("normalized") {
    document["normalizer"] = small_sentencepiece_like()["normalizer"];
    token["normalized"] = true;  // so that it is looked for as "▁<s>"
    CHECK(encode(document, "a <s>") == Ids{265, 1});
    CHECK(encode(document, "a<s>") == Ids{265, 3 + '<', 3 + 's', 3 + '>'});
  }
}

TEST_CASE("the template's special tokens are added only when asked for") {
  const Tokenizer tokenizer = make(small_sentencepiece_like());
  CHECK(tokenizer.encode("a", SpecialTokens::Add) == Ids{1, 265});
  CHECK(tokenizer.encode("a", SpecialTokens::Leave) == Ids{265});
  CHECK(tokenizer.encode("", SpecialTokens::Add) == Ids{1});
  CHECK(tokenizer.encode("", SpecialTokens::Leave).empty());
}

TEST_CASE("Metaspace prepends by its scheme") {
  Json document = small_sentencepiece_like();
  document["normalizer"] = nullptr;
  Json& part = document["pre_tokenizer"];
  part = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  CHECK(encode(document, "a<s>a a") == Ids{265, 1, 260, 265});
  part["prepend_scheme"] = "always";
  CHECK(encode(document, "a<s>a a") == Ids{265, 1, 265, 265});
  part["prepend_scheme"] = "never";
  CHECK(encode(document, "a<s>a a") == Ids{260, 1, 260, 265});
}

TEST_CASE("decoding puts bytes together and marks those that are no character") {
  const Tokenizer tokenizer = make(small_sentencepiece_like());
  CHECK(tokenizer.decode(Ids{265, 3 + 0xC3, 3 + 0xA9, 259, 261}) == "aé b");
  CHECK(tokenizer.decode(Ids{265, 3 + 0xC3, 261}) == "a\uFFFDb");
  CHECK(tokenizer.decode(Ids{1, 265, 2}) == "<s> a</s>");
}

TEST_CASE("a normalized added token decodes to its normalized form") {
  Json document = small_sentencepiece_like();
  document["added_tokens"][2]["normalized"] = true;
  CHECK(make(document).decode(Ids{265, 2, 261}) == "a </s>b");
}

TEST_CASE("an id outside the vocabulary is refused by decoding") {
  const Tokenizer tokenizer = make(small_sentencepiece_like());
  CHECK(tokenizer.vocabulary_size() == 267);
  CHECK_THROWS_AS(tokenizer.decode(Ids{267}), Error);
  CHECK_THROWS_AS(tokenizer.decode(Ids{-1}), Error);
}

TEST_CASE("text that is not UTF-8 is refused with the offset of the first bad byte") {
  const Tokenizer tokenizer = make(small_sentencepiece_like());
  for (const std::string bad :
       {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\x80"}) {
    try {
      tokenizer.encode("aé" + bad, SpecialTokens::Leave);
      FAIL("was not refused");
    } catch (const Error& error) {
      CHECK(error.code() == "T17");
      CHECK_THAT(error.what(), Catch::Matchers::Contains("at byte 3"));
    }
  }
}

}  // namespace
}  // namespace edgecompress
