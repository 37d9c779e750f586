#include <chrono>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
namespace fs = std::filesystem;

const std::string kQuickstart = "recipes/quickstart.ec.yaml";
const std::string kModel = " --model tests/models/mini-llama";

TEST_CASE("recipe check tells all problems of all files and exits with 2", "[cli]") {
  const TempDir folder;
  const fs::path bad = folder.write("bad.ec.yaml", "schema: edgecompress.recipe/v1\nnam: x\n");
  const CommandRun run = run_command("recipe check " + bad.string() + " " + kQuickstart, folder);
  CHECK(run.exit_code == 2);
  CHECK_THAT(run.out, Contains("ok       recipes/quickstart.ec.yaml  quickstart, 4 steps"));
  CHECK_THAT(run.err, Contains("bad.ec.yaml:2:1") && Contains("did you mean `name`?"));
  CHECK(run_command("recipe check " + kQuickstart + kModel, folder).exit_code == 0);
  const CommandRun strict = run_command("recipe check --strict " + kQuickstart, folder);
  CHECK(strict.exit_code == 2);
  CHECK_THAT(strict.out, Contains("no gates"));
}

TEST_CASE("recipe explain says which step and rule touches a matrix", "[cli]") {
  const TempDir folder;
  const std::string set =
      " --set 'steps.quant.quantize.rules=[{match: \"*.3.mlp.*\", weights: {bits: 8}}]'";
  const CommandRun run =
      run_command("recipe explain " + kQuickstart + kModel + set + " --json", folder);
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  std::size_t num_by_rule = 0;
  for (const auto& entry : nlohmann::json::parse(run.out)) {
    const std::string actions = entry.at("actions").dump();
    const std::string module = entry.at("module");
    const bool by_rule = actions.find("int8 groups of 32, asymmetric (rule 1)") != actions.npos;
    CHECK(by_rule == (module.find(".3.mlp.") != module.npos));
    num_by_rule += by_rule ? 1 : 0;
  }
  CHECK(num_by_rule == 3);
}

TEST_CASE("recipe init writes a recipe that passes its check, and never over a file", "[cli]") {
  const TempDir folder;
  const std::string path = (folder.path() / "mine.ec.yaml").string();
  CHECK(run_command("recipe init " + path, folder).exit_code == 0);
  CHECK(run_command("recipe check " + path + kModel, folder).exit_code == 0);
  CHECK(run_command("recipe init " + path, folder).exit_code == 73);
}

TEST_CASE("recipe show prints the effective recipe and where it came from", "[cli]") {
  const TempDir folder;
  const CommandRun shown =
      run_command("recipe show " + kQuickstart + " --origin --set seed=5", folder);
  CHECK(shown.exit_code == 0);
  CHECK_THAT(shown.out, Contains("seed: 5  # --set #1:1") &&
                            Contains("name: quickstart  # recipes/quickstart.ec.yaml:4"));
  CHECK(run_command("recipe show " + kQuickstart, folder).out ==
        file_text(fs::path(EDGECOMPRESS_SOURCE_DIR) / kQuickstart));
}

TEST_CASE("a locked recipe reproduces the bytes and refuses another model", "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  const fs::path model = folder.path() / "model";
  fs::copy(fs::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama", model);
  folder.write(
      "r.ec.yaml",
      "schema: edgecompress.recipe/v1\nname: r\nvars: { bits: 8 }\n"
      "steps: [{ id: q, quantize: { method: rtn, weights: { bits: \"${vars.bits}\" } } }]\n");
  const auto must = [&](const std::string& arguments) {
    const CommandRun run = run_command(arguments, folder);
    INFO(arguments << "\n" << run.err);
    REQUIRE(run.exit_code == 0);
  };
  must("recipe lock " + at + "/r.ec.yaml --model " + model.string());
  must("run " + at + "/r.ec.yaml --model " + model.string() + " -o " + at + "/one");
  must("run " + at + "/r.lock.yaml --model " + model.string() + " -o " + at + "/two");
  const std::string shard = "/model-00001-of-00006.safetensors";
  REQUIRE(fs::exists(at + "/one" + shard));
  CHECK((file_text(at + "/one" + shard) == file_text(at + "/two" + shard)));

  std::string config = file_text(model / "config.json");
  std::ofstream(model / "config.json") << config << " ";
  const CommandRun other = run_command(
      "run " + at + "/r.lock.yaml --model " + model.string() + " -o " + at + "/three", folder);
  CHECK(other.exit_code == 75);
  CHECK_THAT(other.err, Contains("config.json: sha256"));
  CHECK_FALSE(fs::exists(at + "/three"));
}

}  // namespace
}  // namespace edgecompress
