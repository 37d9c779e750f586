#include "recipe/json_schema.h"

#include <fstream>

#include <nlohmann/json.hpp>

#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("the schema in docs is the one that recipes are checked by", "[recipe]") {
  std::ifstream file(EDGECOMPRESS_SOURCE_DIR "/docs/edgecompress-recipe.v1.schema.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  CHECK(text == recipe_json_schema().dump(1) + "\n");  // refresh: edgecompress recipe schema
}

TEST_CASE("the schema gives each method its own keys", "[recipe]") {
  const nlohmann::ordered_json schema = recipe_json_schema();
  const auto& quantize = schema.at("definitions").at("quantize");
  CHECK(quantize.at("additionalProperties") == false);
  std::size_t num_rules = 0;
  for (const auto& rule : quantize.at("allOf")) {
    const std::string method = rule.at("if").at("properties").at("method").at("const");
    const auto& keys = rule.at("then").at("properties");
    if (method == "rtn") CHECK(keys.at("damping") == false);
    if (method == "gptq") CHECK(keys.at("damping").contains("anyOf"));
    ++num_rules;
  }
  CHECK(num_rules >= 2);
  CHECK(schema.at("required").dump() == R"(["schema"])");
}

}  // namespace
}  // namespace edgecompress
