#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "support/catch.h"
#include "tokenizer/split_pattern.h"

namespace edgecompress {
namespace {

using tokenizer_internal::SplitPattern;
using Pieces = std::vector<std::string_view>;

TEST_CASE("matches and gaps are the pieces") {
  CHECK(SplitPattern(R"(\p{N}{1,3})").split("ab12345c") == Pieces{"ab", "123", "45", "c"});
}

TEST_CASE("an empty match ends a gap, but not just behind another match") {
  // As Hugging Face's tokenizers 0.23.3 splits by Oniguruma.
  CHECK(SplitPattern("b*").split("aabba") == Pieces{"a", "a", "bb", "a"});
  CHECK(SplitPattern("(?=b)").split("aabba") == Pieces{"aa", "b", "ba"});
}

TEST_CASE("white space is Unicode's White_Space") {
  const SplitPattern space(R"(\s+)");
  CHECK(space.split("a\u0085\u3000b") == Pieces{"a", "\u0085\u3000", "b"});
  CHECK(space.split("a\u180Eb") == Pieces{"a\u180Eb"});  // PCRE2's own \s would split here
  CHECK(SplitPattern(R"([^\s]+)").split("a\u180Eb c") == Pieces{"a\u180Eb", " ", "c"});
  CHECK(SplitPattern(R"(\S+)").split("a\u180Eb c") == Pieces{"a\u180Eb", " ", "c"});
}

TEST_CASE("constructs that Oniguruma and PCRE2 read differently are refused") {
  for (const char* pattern :
       {R"(\h)", R"(\w+)", "^a", "a$", "[a&&b]", "[[:alpha:]]", "a{2}+", "a{,3}", R"(\p{Han})",
        "(?m:a)", "(*UCP)a", R"(\u0041)", "[]a]", "\\"}) {
    CAPTURE(pattern);
    try {
      const SplitPattern made{std::string(pattern)};
      FAIL("was not refused");
    } catch (const Error& error) {
      CHECK(error.code() == "T13");
    }
  }
}

TEST_CASE("a pattern that backtracks exponentially ends in an error") {
  const SplitPattern pattern("(?:a+)+[bc]");
  const std::string text(64, 'a');
  try {
    pattern.split(text);
    FAIL("was not refused");
  } catch (const Error& error) {
    CHECK(error.code() == "T13");
    CHECK_THAT(error.what(), Catch::Matchers::Contains("limit"));
  }
}

}  // namespace
}  // namespace edgecompress
