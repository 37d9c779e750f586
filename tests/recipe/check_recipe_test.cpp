#include <string>
#include <vector>

#include "base/error.h"
#include "recipe/recipe.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;

/// A model of two decoder blocks whose down projections have rows of another length.
std::vector<NamedMatrix> small_model() {
  std::vector<NamedMatrix> modules{{"model.embed_tokens", 128, MatrixRole::Embedding},
                                   {"lm_head", 128, MatrixRole::Head}};
  for (const std::string layer : {"0", "1"}) {
    for (const std::string name : {"self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"}) {
      modules.push_back({"model.layers." + layer + "." + name, 128});
    }
    modules.push_back({"model.layers." + layer + ".mlp.down_proj", 322});
  }
  return modules;
}

Recipe recipe_of(const std::string& steps) {
  return parse_recipe("schema: edgecompress.recipe/v1\nname: r\nsteps:\n" + steps,
                      "r.ec.yaml");  // steps: line 4
}

std::string refusal(const Recipe& recipe, const std::string& code) {
  try {
    check_targets(recipe, small_model());
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Usage);
    CHECK(error.code() == code);
    return error.what();
  }
  return "no error";
}

TEST_CASE("a recipe that fits a model passes without a warning", "[recipe]") {
  const Recipe recipe = recipe_of(
      "- {id: m, mask: {method: magnitude, pattern: \"2:4\", targets: \"*.mlp.*\", except: "
      "\"*.down_proj\"}}\n"
      "- {id: q, quantize: {method: rtn, weights: {group_size: 128}, rules: [{match: "
      "\"*.down_proj\", weights: {group_size: channel}}]}}\n");
  CHECK(check_targets(recipe, small_model()).empty());
}

TEST_CASE("a pattern that matches nothing is an error where it stands", "[recipe]") {
  const std::string mask =
      refusal(recipe_of("- id: m\n  mask:\n    method: magnitude\n    pattern: \"1:2\"\n    "
                        "targets: [\"*.mlp.*\", \"model.layers.*.mlp.up\"]\n"),
              "R15");
  CHECK_THAT(mask, Contains("pattern `model.layers.*.mlp.up` matches no module of the model") &&
                       Contains("--> r.ec.yaml:8:26") &&
                       Contains("did you mean `model.layers.*.mlp.up*`?"));
  const std::string except = refusal(
      recipe_of("- {id: m, mask: {method: magnitude, pattern: \"1:2\", except: \"*.norm\"}}\n"),
      "R15");
  CHECK_THAT(except, Contains("`*.norm`") && Contains("--> r.ec.yaml:4:61"));
  const std::string rule = refusal(
      recipe_of(
          "- id: q\n  quantize:\n    method: rtn\n    rules:\n    - {match: lm_hed, skip: true}\n"),
      "R15");
  CHECK_THAT(rule, Contains("`lm_hed`") && Contains("--> r.ec.yaml:8:15") &&
                       Contains("nearest modules: lm_head"));
}

TEST_CASE("an optional rule may match nothing", "[recipe]") {
  const Recipe recipe = recipe_of(
      "- {id: q, quantize: {method: rtn, weights: {group_size: channel}, rules: [{match: score, "
      "skip: true, optional: true}]}}\n");
  CHECK(check_targets(recipe, small_model()).empty());
}

TEST_CASE("a mask step must mask some linear layer of the blocks", "[recipe]") {
  const std::string text = refusal(
      recipe_of("- {id: m, mask: {method: magnitude, pattern: \"1:2\", targets: lm_head}}\n"),
      "R15");
  CHECK_THAT(text, Contains("step `m` masks none"));
}

TEST_CASE("a rule behind earlier rules is a warning", "[recipe]") {
  const Recipe recipe = recipe_of(
      "- id: q\n  quantize:\n    method: rtn\n    weights: {group_size: channel}\n    rules:\n"
      "    - {match: \"*.mlp.*\", weights: {bits: 8}}\n"
      "    - {match: \"*.up_proj\", skip: true}\n"
      "    - {match: \"*.layers.0.*\", skip: true}\n");
  const std::vector<std::string> warnings = check_targets(recipe, small_model());
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Contains("R15: rule 2 never applies: earlier rules take its 2 modules") &&
                              Contains("r.ec.yaml:10:7"));
}

TEST_CASE("rows that do not divide are refused for N:M and told for groups", "[recipe]") {
  const std::string text =
      refusal(recipe_of("- {id: m, mask: {method: magnitude, pattern: \"2:4\"}}\n"), "R18");
  CHECK_THAT(text, Contains("rows of a multiple of 4, model.layers.0.mlp.down_proj has 322") &&
                       Contains("--> r.ec.yaml:4:37"));

  const std::string quantize = "- {id: q, quantize: {method: rtn, weights: {group_size: 64}}}\n";
  const std::vector<std::string> warnings = check_targets(recipe_of(quantize), small_model());
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0],
             Contains("R18: model.layers.0.mlp.down_proj has rows of 322 and groups of 64") &&
                 Contains("2 modules in all"));

  // a cut changes the rows, so nothing can be said before it
  const std::string cut = "- {id: p, prune: {score: magnitude-l2, ratio: 20%}}\n";
  CHECK(check_targets(recipe_of(cut + quantize), small_model()).empty());
}

TEST_CASE("a recipe made without a file is checked too", "[recipe]") {
  Recipe recipe;
  recipe.steps.push_back({"m", MaskStep{.method = MagnitudeMask{},
                                        .pattern = PerRow{},
                                        .targets = {.match = {"nothing"}}}});
  const std::string text = refusal(recipe, "R15");
  CHECK(text.starts_with("pattern `nothing` matches no module of the model\n = nearest modules: "));
  CHECK_THAT(text, !Contains("-->"));
}

TEST_CASE("the first rule that matches gives a matrix its grid, then its role", "[recipe]") {
  const Recipe recipe = recipe_of(
      "- id: q\n  quantize:\n    method: rtn\n    weights: {group_size: 32}\n    embedding: {skip: "
      "true}\n    head: {bits: 4, group_size: 64}\n"
      "    rules:\n    - {match: \"*.down_proj\", skip: true}\n    - {match: \"*.mlp.*\", weights: "
      "{bits: 8}}\n");
  const auto& step = std::get<QuantizeStep>(recipe.steps.at(0).action);
  const auto scheme = [&](const std::string& module, MatrixRole role) {
    return scheme_of(step, {module, 128, role});
  };
  CHECK(scheme("a.self_attn.q_proj", MatrixRole::Block) ==
        QuantScheme{.bits = 4, .group_size = 32});
  CHECK(scheme("a.mlp.up_proj", MatrixRole::Block) == QuantScheme{.bits = 8, .group_size = 32});
  CHECK(scheme("a.mlp.down_proj", MatrixRole::Block) == std::nullopt);
  CHECK(scheme("embed", MatrixRole::Embedding) == std::nullopt);
  CHECK(scheme("lm_head", MatrixRole::Head) == QuantScheme{.bits = 4, .group_size = 64});
}

TEST_CASE("a recipe's texts must be there, be UTF-8 and be the ones it names", "[recipe]") {
  const TempDir folder;
  folder.write("good.txt", "caf\xC3\xA9");
  folder.write("empty.txt", "");
  folder.write("latin.txt", "caf\xE9 au lait");
  const auto with = [&](const std::string& file, const std::optional<std::string>& sha256) {
    Recipe recipe;
    recipe.calibration = Calibration{.text = folder.path() / file, .sha256 = sha256};
    return recipe;
  };
  const auto told = [&](const Recipe& recipe) -> std::string {
    try {
      check_texts(recipe);
    } catch (const Error& error) {
      CHECK(error.code() == "R19");
      return error.what();
    }
    return "fine";
  };
  // printf 'caf\303\251' | sha256sum
  const std::string digest = "850f7dc43910ff890f8879c0ed26fe697c93a067ad93a7d50f466a7028a9bf4e";
  CHECK(told(with("good.txt", {})) == "fine");
  CHECK(told(with("good.txt", digest)) == "fine");
  CHECK_THAT(told(with("good.txt", std::string(64, '0'))), Contains("has sha256 " + digest));
  CHECK_THAT(told(with("absent.txt", {})),
             Contains("the calibration text") && Contains("does not exist"));
  CHECK_THAT(told(with("empty.txt", {})), Contains("is empty"));
  CHECK_THAT(told(with("latin.txt", {})), Contains("not valid UTF-8 at byte 3"));
  Recipe evaluated;
  evaluated.evaluation = Evaluation{.text = folder.path() / "absent.txt"};
  CHECK_THAT(told(evaluated), Contains("the evaluation text"));
}

}  // namespace
}  // namespace edgecompress
