#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "base/error.h"
#include "recipe/recipe.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

/// A recipe's text with one to four random changes.
std::string mutated(std::string text, std::mt19937& random) {
  static const std::vector<std::string> pieces{"\t",
                                               "&a ",
                                               "*a",
                                               "!!str ",
                                               "<<: ",
                                               "---\n",
                                               "...\n",
                                               "? ",
                                               "- ",
                                               ": ",
                                               "{",
                                               "}",
                                               "[",
                                               "]",
                                               "\"",
                                               "'",
                                               "#",
                                               "|\n",
                                               ">\n",
                                               "%",
                                               "\n",
                                               "\r",
                                               " ",
                                               "  ",
                                               "~",
                                               "null",
                                               "x-a: ",
                                               "re:(a+)+",
                                               "-1",
                                               "1e999",
                                               "50%",
                                               "\\",
                                               "\xC3\xA9",
                                               "\xFF",
                                               std::string(1, '\0'),
                                               std::string(20, '['),
                                               std::string(20, '{'),
                                               "\"\\u0000\"",
                                               "\"\\ud800\"",
                                               ", ",
                                               "0x",
                                               "@",
                                               "`"};
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random()) % limit; };
  const std::size_t num_changes = 1 + below(4);
  for (std::size_t i = 0; i < num_changes && !text.empty(); ++i) {
    const std::size_t at = below(text.size());
    switch (below(5)) {
      case 0:
        text[at] = static_cast<char>(below(256));
        break;
      case 1:
        text.erase(at, 1 + below(8));
        break;
      case 2:
        text.insert(at, pieces[below(pieces.size())]);
        break;
      case 3:
        text.insert(at, text.substr(below(text.size()), below(60)));
        break;
      case 4:
        text.resize(at);
        break;
    }
  }
  return text;
}

TEST_CASE("a damaged recipe is read or refused, never more", "[recipe][property]") {
  std::ifstream file(EDGECOMPRESS_SOURCE_DIR "/recipes/quickstart.ec.yaml");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  REQUIRE(!text.empty());
  constexpr unsigned kSeed = 20260101;
  std::mt19937 random(kSeed);
  int num_read = 0;
  int num_refused = 0;
  constexpr int kRounds = 20'000;
  for (int i = 0; i < kRounds; ++i) {
    const std::string changed = mutated(text, random);
    INFO("seed " << kSeed << ", round " << i << ":\n" << changed);
    try {
      const Recipe recipe = parse_recipe(changed, "m.ec.yaml");
      ++num_read;
      if (recipe.steps.empty()) FAIL("accepted without a step");
    } catch (const Error& error) {
      ++num_refused;
      if (error.kind() != ErrorKind::Usage || error.code()[0] != 'R')
        FAIL("an error of another kind: " << error.what());
    }
  }
  // both ways must have been taken, or the mutations test nothing
  CHECK(num_read > kRounds / 50);
  CHECK(num_refused > kRounds / 2);
}

}  // namespace
}  // namespace edgecompress
