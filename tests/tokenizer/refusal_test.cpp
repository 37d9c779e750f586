#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "small_tokenizers.h"
#include "support/catch.h"
#include "support/temp_dir.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

struct Refusal {
  const char* what;
  const char* code;
  ErrorKind kind;
  const char* named;  // must stand in the message
  std::function<void(Json&)> damage;
};

void expect_refusal(const std::string& text, const char* code, ErrorKind kind,
                    const std::string& named) {
  try {
    Tokenizer::parse(text, "given.json");
    FAIL("was not refused");
  } catch (const Error& error) {
    CHECK(error.code() == code);
    CHECK(static_cast<int>(error.kind()) == static_cast<int>(kind));
    CHECK_THAT(error.what(), Catch::Matchers::Contains(named));
    CHECK_THAT(error.what(), Catch::Matchers::Contains("given.json"));
  }
}

constexpr ErrorKind kBad = ErrorKind::Malformed;
constexpr ErrorKind kOther = ErrorKind::Unsupported;

Json added_token(const char* content, const Json& id) {
  return Json{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
              {"rstrip", false}, {"normalized", false}, {"special", true}};
}

std::vector<Refusal> model_refusals() {
  return {
      {"version 2", "T2", kBad, "2.0", [](Json& j) { j["version"] = "2.0"; }},
      {"no version", "T2", kBad, "version", [](Json& j) { j.erase("version"); }},
      {"no model", "T3", kBad, "model", [](Json& j) { j.erase("model"); }},
      {"Unigram", "T3", kOther, "Unigram", [](Json& j) { j["model"]["type"] = "Unigram"; }},
      {"dropout", "T3", kOther, "dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }},
      {"suffix", "T3", kOther, "end_of_word_suffix",
       [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
      {"no vocabulary", "T4", kBad, "vocab", [](Json& j) { j["model"].erase("vocab"); }},
      {"empty vocabulary", "T4", kBad, "vocab",
       [](Json& j) { j["model"]["vocab"] = Json::object(); }},
      {"vocabulary as a list", "T4", kBad, "vocab",
       [](Json& j) { j["model"]["vocab"] = Json::array({"a"}); }},
      {"long token", "T4", kBad, "65537",
       [](Json& j) { j["model"]["vocab"][std::string(65'537, 'x')] = 267; }},
      {"fractional id", "T5", kBad, "\"d\"", [](Json& j) { j["model"]["vocab"]["d"] = 267.5; }},
      {"id as text", "T5", kBad, "\"d\"", [](Json& j) { j["model"]["vocab"]["d"] = "267"; }},
      {"id as an object", "T5", kBad, "\"d\"",
       [](Json& j) { j["model"]["vocab"]["d"] = Json::object(); }},
      {"negative id", "T5", kBad, "-1", [](Json& j) { j["model"]["vocab"]["d"] = -1; }},
      {"id of 2^31", "T5", kBad, "2147483648",
       [](Json& j) { j["model"]["vocab"]["d"] = 2'147'483'648; }},
      {"same id twice", "T6", kBad, "260", [](Json& j) { j["model"]["vocab"]["d"] = 260; }},
      // 268 tokens then: 2 * 268 + 65536 = 66072 is the largest id allowed.
      {"wide gap", "T7", kBad, "66073", [](Json& j) { j["model"]["vocab"]["d"] = 66'073; }},
      {"no merges", "T8", kBad, "merges", [](Json& j) { j["model"].erase("merges"); }},
      {"merge of one part", "T8", kBad, "entry 4",
       [](Json& j) { j["model"]["merges"].push_back("ab"); }},
      {"merge of three parts", "T8", kBad, "entry 4",
       [](Json& j) { j["model"]["merges"].push_back("a b c"); }},
      {"merge with an empty part", "T8", kBad, "empty",
       [](Json& j) { j["model"]["merges"].push_back(" b"); }},
      {"list merge of one part", "T8", kBad, "entry 4",
       [](Json& j) { j["model"]["merges"].push_back(Json::array({"a"})); }},
      {"list merge of three parts", "T8", kBad, "entry 4",
       [](Json& j) { j["model"]["merges"].push_back(Json::array({"a", "b", "c"})); }},
      {"merge as a number", "T8", kBad, "a number",
       [](Json& j) { j["model"]["merges"].push_back(7); }},
      {"merge of an unknown part", "T9", kBad, "\"z\"",
       [](Json& j) { j["model"]["merges"].push_back("a z"); }},
      {"merge with an unknown result", "T9", kBad, "1 of",
       [](Json& j) { j["model"]["merges"].push_back("c a"); }},
      {"unknown unk_token", "T11", kBad, "<none>",
       [](Json& j) { j["model"]["unk_token"] = "<none>"; }},
      {"byte token missing", "T11", kBad, "<0x7F>",
       [](Json& j) { j["model"]["vocab"].erase("<0x7F>"); }},
  };
}

std::vector<Refusal> other_refusals() {
  const auto add = [](const char* content, const Json& id) {
    return [=](Json& j) { j["added_tokens"].push_back(added_token(content, id)); };
  };
  const auto part = [](const char* role, const char* text) {
    return [=](Json& j) { j[role] = Json::parse(text); };
  };
  return {
      {"empty added token", "T12", kBad, "added_tokens[3]", add("", 267)},
      {"added token twice", "T12", kBad, "<s>", add("<s>", 1)},
      {"added token with another's id", "T12", kBad, "<new>", add("<new>", 262)},
      {"added token of the model with another id", "T12", kBad, "263", add("ab", 267)},
      {"added token behind a gap", "T12", kBad, "expected 267", add("<new>", 300)},
      {"added token with a huge id", "T12", kBad, "2^31", add("<new>", 4'000'000'000)},
      {"unknown normalizer", "T14", kOther, "NFKC", part("normalizer", R"({"type": "NFKC"})")},
      {"unknown normalizer in a Sequence", "T14", kOther, "Lowercase",
       part("normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})")},
      {"Replace by a regular expression", "T14", kOther, "regular expression",
       part("normalizer", R"({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"})")},
      {"unknown pre-tokenizer", "T14", kOther, "Whitespace",
       part("pre_tokenizer", R"({"type": "Whitespace"})")},
      {"Split that removes", "T14", kOther, "Removed",
       part("pre_tokenizer",
            R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed"})")},
      {"pre-tokenizer without a type", "T14", kBad, "pre_tokenizer",
       part("pre_tokenizer", R"({"kind": "Split"})")},
      {"unknown decoder", "T14", kOther, "WordPiece", part("decoder", R"({"type": "WordPiece"})")},
      {"unknown post-processor", "T14", kOther, "BertProcessing",
       part("post_processor", R"({"type": "BertProcessing"})")},
      {"pattern that does not compile", "T13", kBad, "(a",
       part("pre_tokenizer",
            R"({"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"})")},
      {"pattern that means something else in PCRE2", "T13", kBad, "\\h",
       part("pre_tokenizer",
            R"({"type": "Split", "pattern": {"Regex": "\\h+"}, "behavior": "Isolated"})")},
      {"template without its special token", "T15", kBad, "<x>",
       [](Json& j) { j["post_processor"]["single"][0]["SpecialToken"]["id"] = "<x>"; }},
      {"template with an id beyond the vocabulary", "T15", kBad, "267",
       [](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"][0] = 267; }},
  };
}

TEST_CASE("a tokenizer.json that breaks one rule is refused with that rule's code") {
  std::vector<Refusal> all = model_refusals();
  for (Refusal& more : other_refusals()) all.push_back(std::move(more));
  for (const Refusal& refusal : all) {
    SECTION(refusal.what) {
      Json document = small_sentencepiece_like();
      refusal.damage(document);
      expect_refusal(document.dump(), refusal.code, refusal.kind, refusal.named);
    }
  }
}

TEST_CASE("text that is not strict JSON is refused") {
  const std::string good = small_sentencepiece_like().dump();
  SECTION("cut off") { expect_refusal(good.substr(0, good.size() / 2), "T1", kBad, "not JSON"); }
  SECTION("empty") { expect_refusal("", "T1", kBad, "not JSON"); }
  SECTION("text behind it") { expect_refusal(good + "x", "T1", kBad, "not JSON"); }
  SECTION("a list") { expect_refusal("[1]", "T1", kBad, "object"); }
  SECTION("a byte order mark") {
    expect_refusal("\xEF\xBB\xBF" + good, "T1", kBad, "byte order mark");
  }
  SECTION("a key twice") {
    expect_refusal("{\"version\": \"1.0\", \"version\": \"1.0\"}", "T1", kBad, "twice");
  }
  SECTION("a bomb of nested Sequences") {
    std::string bomb = "{\"version\": \"1.0\", \"normalizer\": ";
    for (int depth = 0; depth < 100'000; ++depth)
      bomb += "{\"type\": \"Sequence\", \"normalizers\": [";
    expect_refusal(bomb, "T1", kBad, "deeper than 64");
  }
  SECTION("a token twice") {
    expect_refusal(R"({"version": "1.0", "model": {"vocab": {"a": 0, "a": 1}}})", "T6", kBad,
                   "twice");
  }
  SECTION("bytes that are not UTF-8") {
    expect_refusal("{\"version\": \"1.0\", \"model\": {\"vocab\": {\"\xC3\x28\": 0}}}", "T17", kBad,
                   "UTF-8");
  }
  SECTION("half of a surrogate pair") {
    expect_refusal(R"({"version": "1.0", "model": {"vocab": {"\ud800": 0}}})", "T17", kBad,
                   "surrogate");
  }
}

TEST_CASE("a tokenizer.json that is a link out of the folder is refused") {
  const TempDir folder;
  const TempDir elsewhere;
  elsewhere.write("tokenizer.json", small_sentencepiece_like().dump());
  std::filesystem::create_symlink(elsewhere.path() / "tokenizer.json",
                                  folder.path() / "tokenizer.json");
  try {
    Tokenizer::open(folder.path());
    FAIL("was not refused");
  } catch (const Error& error) {
    CHECK(error.code() == "I7");
    CHECK(std::string(error.what()).find(elsewhere.path().string()) != std::string::npos);
  }
}

TEST_CASE("a folder without tokenizer.json is an absent input") {
  const TempDir folder;
  try {
    Tokenizer::open(folder.path());
    FAIL("was not refused");
  } catch (const Error& error) {
    CHECK(static_cast<int>(error.kind()) == static_cast<int>(ErrorKind::Missing));
  }
}

}  // namespace
}  // namespace edgecompress
