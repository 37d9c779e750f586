#include <filesystem>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
namespace fs = std::filesystem;

TEST_CASE("a run leaves pages beside its report, and they can be made again", "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  const std::string quantize =
      "quantize --model tests/models/mini-llama --text calibration/evaluation.txt --window 128 "
      "--windows 2 ";
  for (const std::string bits : {"4", "8"}) {
    REQUIRE(
        run_command(quantize + "--bits " + bits + " -o " + at + "/q" + bits, folder).exit_code ==
        0);
  }
  const CommandRun again = run_command(
      "report " + at + "/q4 --html " + at + "/again.html --md " + at + "/again.md", folder);
  CHECK(again.exit_code == 0);
  CHECK(file_text(at + "/again.html") == file_text(at + "/q4/report.html"));
  CHECK(file_text(at + "/again.md") == file_text(at + "/q4/report.md"));
  CHECK_THAT(file_text(at + "/again.html"), Contains("<title>layer 3, down: 4</title>"));
  CHECK_THAT(run_command("report " + at + "/q4/report.json", folder).out, Contains("quantized"));

  const CommandRun better =
      run_command("diff " + at + "/q4 " + at + "/q8 --max-ppl-increase 0 --markdown", folder);
  CHECK(better.exit_code == 0);
  CHECK_THAT(better.out, Contains("| perplexity |") && Contains("matrices differ"));
  const CommandRun larger =
      run_command("diff " + at + "/q4 " + at + "/q8 --max-size-increase 10% --json", folder);
  CHECK(larger.exit_code == 1);
  CHECK_THAT(larger.err, Contains("limit passed: size"));
  CHECK(nlohmann::json::parse(larger.out).at("passed") == false);
  CHECK(run_command("diff " + at + "/q4 /no/such", folder).exit_code == 66);
  CHECK(run_command("report tests/models/mini-llama/config.json", folder).exit_code == 65);
}

TEST_CASE("an artifact continues a prompt, the same for the same seed", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  REQUIRE(run_command("export --model tests/models/mini-llama --skip-check -o " + out, folder)
              .exit_code == 0);
  const std::string generate = "generate --artifact " + out + " --prompt 'The old house' ";
  const CommandRun greedy = run_command(generate + "--max-tokens 8", folder);
  CHECK(greedy.exit_code == 0);
  CHECK_THAT(greedy.out, Contains("The old house") && !Contains("<|begin_of_text|>"));
  const std::string special = run_command(generate + "--max-tokens 8 --special-tokens", folder).out;
  CHECK(special == "<|begin_of_text|>" + greedy.out);
  const CommandRun beams = run_command(generate + "--max-tokens 8 --beams 4", folder);
  CHECK(beams.exit_code == 0);
  CHECK_THAT(beams.out, Contains("The old house"));
  const std::string sampling = generate + "--temperature 1 --top-k 50 --seed 3 --json";
  const CommandRun sampled = run_command(sampling, folder);
  CHECK(sampled.out == run_command(sampling, folder).out);
  CHECK(nlohmann::json::parse(sampled.out).at("generated_ids").size() > 1);
  CHECK(run_command(generate + "--max-tokens 4000", folder).exit_code == 2);
}

}  // namespace
}  // namespace edgecompress
