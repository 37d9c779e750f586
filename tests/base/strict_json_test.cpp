#include "base/strict_json.h"

#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

std::string refusal_of(const std::string& text) {
  try {
    parse_strict_json(text, "x.json");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Malformed);
    return error.what();
  }
  return "accepted";
}

TEST_CASE("what JSON does not allow, or readers disagree about, is refused", "[base]") {
  struct Lie {
    std::string text;
    std::string words;
  };
  const std::vector<Lie> lies{{"", "not JSON"},
                              {"{\"a\":1", "not JSON"},
                              {"{\"a\":1}x", "not JSON"},
                              {"{\"a\":NaN}", "not JSON"},
                              {"{\"a\":-Infinity}", "not JSON"},
                              {"{'a':1}", "not JSON"},
                              {"{\"a\":1,}", "not JSON"},
                              {"{\"a\":\"\xFF\"}", "not JSON"},
                              {"\xEF\xBB\xBF{}", "byte order mark"},
                              {"{\"a\":1,\"a\":1}", "\"a\" appears twice"},
                              {"{\"b\":{\"a\":1,\"c\":2,\"a\":3}}", "\"a\" appears twice"},
                              {std::string(65, '['), "nested deeper than 64"}};
  for (const Lie& lie : lies) {
    const std::string refusal = refusal_of(lie.text);
    INFO(lie.text << " gave " << refusal);
    CHECK(refusal.find(lie.words) != std::string::npos);
    CHECK(refusal.find("x.json") != std::string::npos);
  }
}

TEST_CASE("an error names its line and column", "[base]") {
  CHECK(refusal_of("{\n  \"a\": 1,\n  \"b\": ?\n}").find("x.json:3:8") != std::string::npos);
}

TEST_CASE("keys keep their order and siblings may share keys", "[base]") {
  const nlohmann::ordered_json document =
      parse_strict_json(R"({"z":[{"k":1},{"k":2}],"a":{"k":null},"m":-1.5})", "x.json");
  CHECK(document.dump() == R"({"z":[{"k":1},{"k":2}],"a":{"k":null},"m":-1.5})");
  CHECK_NOTHROW(parse_strict_json(std::string(64, '[') + std::string(64, ']'), "x.json"));
}

TEST_CASE("an integer is an integer of its range, not something that converts to one", "[base]") {
  using Json = nlohmann::ordered_json;
  CHECK(json_integer(Json(7), "f", 0, 10) == 7);
  CHECK(json_integer(Json(-1), "f", -1, 10) == -1);
  for (const Json& bad : {Json(-1), Json(11), Json(4.0), Json("4"), Json(true), Json(nullptr),
                          Json(UINT64_MAX), Json::array({4})}) {
    INFO(bad);
    CHECK_THROWS_AS(json_integer(bad, "f", 0, 10), Error);
  }
}

}  // namespace
}  // namespace edgecompress
