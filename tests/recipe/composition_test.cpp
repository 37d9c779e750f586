#include <string>
#include <vector>

#include "base/error.h"
#include "recipe/document.h"
#include "recipe/recipe.h"
#include "recipe/yaml_text.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;

const std::string kHead = "schema: edgecompress.recipe/v1\n";

/// The words of the refusal, or "" when there is none.
std::string refusal(const std::filesystem::path& path, const std::string& code,
                    const std::vector<std::string>& overrides = {}) {
  try {
    read_recipe(path, overrides);
  } catch (const Error& error) {
    CHECK(error.code() == code);
    return error.what();
  }
  return "";
}

void write_base(const TempDir& folder) {
  std::filesystem::create_directory(folder.path() / "base");
  folder.write("base/llama.ec.yaml",
               kHead +
                   "name: base\nseed: 3\nvars: { group: 64, text: calib }\n"
                   "calibration: { text: \"${vars.text}.txt\", samples: 16 }\n"
                   "steps:\n"
                   "  - { id: cut, prune: { score: magnitude-l2, ratio: 20% } }\n"
                   "  - id: quant\n"
                   "    quantize:\n"
                   "      method: rtn\n"
                   "      weights: { bits: 4, group_size: \"${vars.group}\" }\n"
                   "      rules:\n"
                   "        - { match: \"*.down_proj\", weights: { bits: 8 } }\n"
                   "  - { id: artifact, export: { format: genai } }\n");
  folder.write("main.ec.yaml",
               kHead +
                   "name: main\nextends: base/llama.ec.yaml\n"
                   "vars: { group: 128 }\n"
                   "calibration: { samples: 8 }\n"
                   "steps:\n"
                   "  - { id: cut, remove: true }\n"
                   "  - { id: quant, quantize: { weights: { symmetric: false } } }\n"
                   "  - { id: light, after: quant, mask: { method: magnitude, "
                   "pattern: \"2:4\" } }\n");
}

const QuantizeStep& quantize_step(const Recipe& recipe) {
  for (const Step& step : recipe.steps) {
    if (const auto* quantize = std::get_if<QuantizeStep>(&step.action)) return *quantize;
  }
  throw std::logic_error("no quantize step");
}

TEST_CASE("maps merge by key, texts replace, steps merge by id", "[recipe]") {
  const TempDir folder;
  write_base(folder);
  folder.write("good.ec.yaml",
               kHead +
                   "name: good\nextends: [base/llama.ec.yaml]\nvars: { group: 128 }\n"
                   "calibration: { samples: 8 }\nsteps:\n"
                   "  - { id: cut, remove: true }\n"
                   "  - { id: quant, quantize: { weights: { symmetric: false } } }\n");
  const Recipe recipe = read_recipe(folder.path() / "good.ec.yaml");
  CHECK(recipe.name == "good");
  CHECK(recipe.seed == 3);
  REQUIRE(recipe.steps.size() == 2);
  CHECK(recipe.steps[0].id == "quant");
  CHECK(recipe.steps[1].id == "artifact");
  const QuantScheme& weights = quantize_step(recipe).weights;
  CHECK(weights.bits == 4);
  CHECK(weights.group_size == 128);  // the variable of the file that extends wins
  CHECK(weights.symmetry == Symmetry::Asymmetric);
  CHECK(recipe.calibration->samples == 8);
  // a base's path is relative to the base
  CHECK(recipe.calibration->text == (folder.path() / "base/calib.txt").lexically_normal());
}

TEST_CASE("a step is placed behind the one that `after` names", "[recipe]") {
  const TempDir folder;
  write_base(folder);
  // mask behind quantize is refused for its order: it stands where it was put
  const std::string words = refusal(folder.path() / "main.ec.yaml", "R17");
  CHECK_THAT(words, Contains("mask after quantize") && Contains("main.ec.yaml:9:"));
}

TEST_CASE("the effective recipe is a recipe that means the same", "[recipe]") {
  const TempDir folder;
  write_base(folder);
  folder.write("good.ec.yaml", kHead + "name: good\nextends: base/llama.ec.yaml\n");
  const Recipe recipe = read_recipe(folder.path() / "good.ec.yaml", {"steps.cut.prune.ratio=25%"});
  CHECK_THAT(recipe.source_text, !Contains("extends") && !Contains("vars"));
  const Recipe again = parse_recipe(recipe.source_text, folder.path() / "good.ec.yaml");
  CHECK(again.source_text == recipe.source_text);  // nothing to put together: the text itself
  CHECK(yaml_text(again.document->root) == recipe.source_text);
  CHECK(again.calibration->text == recipe.calibration->text);
  CHECK(std::get<PruneStep>(again.steps[0].action).cut.ratio == 0.25);
  CHECK(quantize_step(again).weights.group_size == 64);
  CHECK(quantize_step(again).rules.at(0).scheme->bits == 8);
}

TEST_CASE("origins name file and line of every value", "[recipe]") {
  const TempDir folder;
  write_base(folder);
  folder.write("good.ec.yaml", kHead + "name: good\nextends: base/llama.ec.yaml\n");
  const Recipe recipe = read_recipe(folder.path() / "good.ec.yaml", {"seed=7"});
  std::vector<std::string> names;
  for (const RecipeSource& source : recipe.document->sources)
    names.push_back(std::filesystem::path(source.name).filename().string());
  const std::string text = yaml_text(recipe.document->root, names);
  CHECK_THAT(text, Contains("name: good  # good.ec.yaml:2\n"));
  CHECK_THAT(text, Contains("seed: 7  # --set #1:1\n"));
  CHECK_THAT(text, Contains("bits: 4  # llama.ec.yaml:11\n"));
}

TEST_CASE("a mistake in a base is shown in the base", "[recipe][lies]") {
  const TempDir folder;
  folder.write("base.ec.yaml", kHead +
                                   "name: base\nsteps:\n"
                                   "  - { id: q, quantize: { method: rtn, clib: none } }\n");
  folder.write("main.ec.yaml", kHead + "name: main\nextends: base.ec.yaml\n");
  const std::string words = refusal(folder.path() / "main.ec.yaml", "R6");
  CHECK_THAT(words, Contains("base.ec.yaml:4:39") && Contains("did you mean `clip`?"));
}

TEST_CASE("bases that cannot be used are refused", "[recipe][lies]") {
  const TempDir folder;
  const auto with = [&](const std::string& base) {
    folder.write("main.ec.yaml", kHead + "name: main\nextends: \"" + base + "\"\n");
    return refusal(folder.path() / "main.ec.yaml", "R13");
  };
  CHECK_THAT(with("/etc/base.ec.yaml"), Contains("relative") && Contains("main.ec.yaml:3:10"));
  CHECK_THAT(with("https://example.org/a.ec.yaml"), Contains("relative"));
  CHECK_THAT(with("../base.ec.yaml"), Contains("leaves the folder"));
  CHECK_THAT(with("a/../../base.ec.yaml"), Contains("leaves the folder"));
  CHECK_THAT(with("none.ec.yaml"), Contains("does not exist"));
  CHECK_THAT(with("main.ec.yaml"), Contains("circle") && Contains(" -> "));
  folder.write("text.ec.yaml", "name: no recipe\n");
  CHECK_THAT(with("text.ec.yaml"), Contains("lacks `schema:"));
  for (int i = 0; i < 9; ++i) {
    folder.write("d" + std::to_string(i) + ".ec.yaml",
                 kHead + "name: d\nextends: d" + std::to_string(i + 1) + ".ec.yaml\n");
  }
  CHECK_THAT(with("d0.ec.yaml"), Contains("deeper than 8"));
  folder.write("main.ec.yaml",
               kHead +
                   "name: main\nsteps: [{ id: q, remove: true }, { id: r, after: p, "
                   "export: { format: onnx } }, { id: s, quantize: { method: rtn } }]\n");
  CHECK_THAT(refusal(folder.path() / "main.ec.yaml", "R13"),
             Contains("no step `q` to remove") && Contains("no step `p` to stand"));
}

TEST_CASE("two steps of one file with one id stay a mistake", "[recipe][lies]") {
  const TempDir folder;
  write_base(folder);
  folder.write("main.ec.yaml", kHead +
                                   "name: main\nextends: base/llama.ec.yaml\nsteps:\n"
                                   "  - { id: quant, quantize: { weights: { bits: 8 } } }\n"
                                   "  - { id: quant, quantize: { method: rtn } }\n");
  CHECK_THAT(refusal(folder.path() / "main.ec.yaml", "R5"), Contains("two steps have the id"));
}

TEST_CASE("variables take their own type and unknown ones are refused", "[recipe]") {
  const std::string steps =
      "steps: [{ id: q, quantize: { method: rtn, weights: { bits: \"${vars.bits}\" } } }]\n";
  const Recipe recipe = parse_recipe(
      kHead + "name: \"v${vars.bits}-${vars.tag}\"\nvars: { bits: 8, tag: x }\n" + steps, "r");
  CHECK(recipe.name == "v8-x");
  CHECK(quantize_step(recipe).weights.bits == 8);
  for (const auto& [vars, words] : {std::pair{"{ bit: 8 }", "did you mean `bit`?"},
                                    std::pair{"{ bits: [8] }", "must be a single value"},
                                    std::pair{"{ bits: \"8\" }", "remove the quotes"},
                                    std::pair{"{ bits: 5 }", "one of 4, 8"}}) {
    CAPTURE(vars);
    CHECK_THROWS_WITH(parse_recipe(kHead + "name: a\nvars: " + vars + "\n" + steps, "r"),
                      Contains(words));
  }
}

TEST_CASE("--set reaches every key of the language and no other", "[recipe]") {
  const TempDir folder;
  write_base(folder);
  folder.write("good.ec.yaml", kHead + "name: good\nextends: base/llama.ec.yaml\n");
  const std::filesystem::path path = folder.path() / "good.ec.yaml";
  const Recipe recipe = read_recipe(
      path, {"steps.quant.quantize.weights.bits=8", "steps.quant.quantize.rules.0.weights.bits=4",
             "steps.quant.quantize.head={skip: true}", "vars.group=32", "calibration=null",
             "steps.cut.prune.ratio=25%", "gates=[{metric: size, max: 1GiB}]"});
  CHECK(quantize_step(recipe).weights.bits == 8);
  CHECK(quantize_step(recipe).weights.group_size == 32);
  CHECK(quantize_step(recipe).rules.at(0).scheme->bits == 4);
  CHECK_FALSE(quantize_step(recipe).head);
  CHECK_FALSE(recipe.calibration);
  CHECK(recipe.gates.at(0).limit == 1073741824.0);

  const auto refused = [&](const std::string& set, const std::string& code) {
    return refusal(path, code, {"seed=1", set});
  };
  CHECK_THAT(refused("steps.quant.quantize.weights.bit=8", "R21"),
             Contains("--set #2:1:") && Contains("did you mean `bits`?"));
  CHECK_THAT(refused("steps.qant.quantize.method=rtn", "R21"),
             Contains("it has: cut, quant, artifact"));
  CHECK_THAT(refused("steps.quant=1", "R21"), Contains("whole entry"));
  CHECK_THAT(refused("seed.x=1", "R21"), Contains("no keys of its own"));
  CHECK_THAT(refused("seed", "R21"), Contains("PATH=VALUE"));
  CHECK_THAT(refused("extends=a", "R21"), Contains("no key `extends`"));
  CHECK_THAT(refused("steps.quant.quantize.weights.bits=5", "R10"),
             Contains("--set #2:1:35") && Contains("one of 4, 8"));
}

}  // namespace
}  // namespace edgecompress
