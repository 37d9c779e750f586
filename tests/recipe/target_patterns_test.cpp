#include <string>
#include <vector>

#include "base/error.h"
#include "recipe/recipe.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

bool matches(const std::string& pattern, const std::string& module) {
  return targets({.match = {pattern}}, module);
}

TEST_CASE("a glob matches the whole name", "[recipe]") {
  const std::string up = "model.layers.3.mlp.up_proj";
  CHECK(matches("model.layers.3.mlp.up_proj", up));
  CHECK(matches("*", up));
  CHECK(matches("*.mlp.*", up));
  CHECK(matches("model.layers.?.mlp.up_proj", up));
  CHECK(matches("model.*.up_*", up));
  CHECK(matches("**up*proj**", up));
  CHECK(matches("*.{gate,up}_proj", up));
  CHECK(matches("model.layers.{0,3}.{mlp,self_attn}.*", up));
  CHECK_FALSE(matches("model.layers.3.mlp.up", up));
  CHECK_FALSE(matches("mlp.up_proj", up));
  CHECK_FALSE(matches("model.layers.??.mlp.up_proj", up));
  CHECK_FALSE(matches("*.{gate,down}_proj", up));
  CHECK_FALSE(matches("*.self_attn.*", up));
  CHECK_FALSE(matches("*.up_proj?", up));
}

TEST_CASE("a regular expression matches the whole name", "[recipe]") {
  const std::string up = "model.layers.13.mlp.up_proj";
  CHECK(matches(R"(re:model\.layers\.(0|1[0-9])\.mlp\..*)", up));
  CHECK(matches("re:.*up_proj", up));
  CHECK_FALSE(matches("re:up_proj", up));
  CHECK_FALSE(matches("re:model", up));
  CHECK_FALSE(matches(R"(re:model\.layers\.1\..*)", up));
}

TEST_CASE("a module is a target when it matches and is not excepted", "[recipe]") {
  const TargetPatterns patterns{.match = {"*.mlp.*", "*.o_proj"},
                                .except = {"*.layers.0.*", "re:.*down_proj"}};
  CHECK(targets(patterns, "model.layers.1.mlp.up_proj"));
  CHECK(targets(patterns, "model.layers.1.self_attn.o_proj"));
  CHECK_FALSE(targets(patterns, "model.layers.0.mlp.up_proj"));
  CHECK_FALSE(targets(patterns, "model.layers.1.mlp.down_proj"));
  CHECK_FALSE(targets(patterns, "model.layers.1.self_attn.q_proj"));
  CHECK_FALSE(targets({}, "model.layers.1.self_attn.q_proj"));
}

TEST_CASE("a regular expression that takes too long is refused", "[recipe]") {
  try {
    matches("re:(a+)+[bc]", std::string(20, 'a'));  // 2^20 steps: over our limit, below PCRE2's own
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == "R16");
    CHECK_THAT(error.what(), Catch::Matchers::Contains("limit exceeded"));
  }
}

TEST_CASE("many stars cost no more than the name's length times the glob's", "[recipe]") {
  std::string glob;
  for (int i = 0; i < 300; ++i) glob += "a*";
  CHECK_FALSE(matches(glob + "b", std::string(5000, 'a')));
  CHECK(matches(glob, std::string(5000, 'a')));
}

}  // namespace
}  // namespace edgecompress
