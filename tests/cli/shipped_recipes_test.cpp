#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
namespace fs = std::filesystem;

std::set<fs::path> shipped_recipes() {
  std::set<fs::path> recipes;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(fs::path(EDGECOMPRESS_SOURCE_DIR) / "recipes")) {
    if (entry.path().string().ends_with(".ec.yaml")) recipes.insert(entry.path());
  }
  return recipes;
}

TEST_CASE("every recipe that ships runs on the embedded model", "[cli]") {
  const std::set<fs::path> recipes = shipped_recipes();
  REQUIRE(recipes.size() >= 8);
  for (const fs::path& recipe : recipes) {
    CAPTURE(recipe.filename());
    const TempDir folder;
    const fs::path out = folder.path() / "out";
    // less text than the recipe says: whether it runs does not depend on that
    const CommandRun run = run_command(
        "run " + recipe.string() + " --model tests/models/mini-llama -o " + out.string() +
            " --set calibration.samples=4 --set calibration.sequence_length=128 --set "
            "evaluate.window=128 --set evaluate.max_windows=2 --skip-speed-test --json",
        folder);
    INFO(run.err);
    REQUIRE(run.exit_code == 0);
    const nlohmann::json report = nlohmann::json::parse(run.out);
    CHECK(report.at("stages").back().at("stage") == "artifact");
    CHECK(report.at("totals").at("size_ratio") > 1.5);
    CHECK(fs::exists(out / "model.onnx"));
  }
}

TEST_CASE("every recipe that ships says when to use it and what was measured", "[cli]") {
  const fs::path table = fs::path(EDGECOMPRESS_SOURCE_DIR) / "recipes/README.md";
  for (const fs::path& recipe : shipped_recipes()) {
    CAPTURE(recipe.filename());
    const std::string text = file_text(recipe);
    CHECK_THAT(text, Contains("tests/models/mini-llama") && Contains("perplexity"));
    CHECK_THAT(file_text(table), Contains("`" + recipe.filename().string() + "`"));
  }
}

}  // namespace
}  // namespace edgecompress
