#include <filesystem>
#include <sstream>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;

const std::string kQuantize =
    "quantize --model tests/models/mini-llama --bits 8 --text calibration/evaluation.txt "
    "--window 128 --windows 2 -o ";

TEST_CASE("a failed gate exits with 1 and the output is still written", "[cli]") {
  const TempDir folder;
  const fs::path out = folder.path() / "out";
  const CommandRun run =
      run_command(kQuantize + out.string() + " --max-size 1KiB --min-top1 50% --json", folder);
  CHECK(run.exit_code == 1);
  CHECK_THAT(run.err, Contains("gate failed: size_bytes is") && Contains("at most 1.00 KiB"));
  CHECK_THAT(run.err, !Contains("top1_agreement"));
  const nlohmann::json report = nlohmann::json::parse(run.out);
  REQUIRE(report.at("gates").size() == 2);
  CHECK(report["gates"][0]["gate"] == "top1_agreement");
  CHECK(report["gates"][0]["passed"] == true);
  CHECK(report["gates"][1]["passed"] == false);
  CHECK(report["gates"][1]["value"] == report["totals"]["bytes_after"]);
  CHECK(nlohmann::json::parse(file_text(out / "report.json")) == report);
}

TEST_CASE("with --gate-before-publish a failed gate leaves nothing behind", "[cli]") {
  const TempDir folder;
  const fs::path out = folder.path() / "out";
  const std::string command = kQuantize + out.string() + " --gate-before-publish ";
  const CommandRun failed = run_command(command + "--max-kl 1e-9", folder);
  CHECK(failed.exit_code == 1);
  CHECK_THAT(failed.out, Contains("kl_divergence_nats") && Contains("FAIL") &&
                             Contains("output: not published"));
  CHECK_FALSE(fs::exists(out));
  const CommandRun passed = run_command(command + "--max-ppl-increase 50%", folder);
  CHECK(passed.exit_code == 0);
  CHECK_THAT(passed.out, Contains("perplexity_increase") && Contains("pass"));
  CHECK(fs::exists(out / "report.json"));
}

TEST_CASE("eval judges a model against another", "[cli]") {
  const TempDir folder;
  const std::string eval =
      "eval --model tests/models/mini-llama --text calibration/evaluation.txt --window 128 "
      "--windows 2 ";
  const std::string against = "--against tests/models/mini-llama ";
  const CommandRun same = run_command(eval + against + "--max-ppl-increase 0 --json", folder);
  INFO(same.err);
  CHECK(same.exit_code == 0);  // a model against itself
  const nlohmann::json scores = nlohmann::json::parse(same.out);
  CHECK(scores.at("reference_perplexity") == scores.at("perplexity"));
  CHECK(scores.at("gates").at(0).at("value") == 0);
  CHECK(run_command(eval + "--max-ppl-increase 1%", folder).exit_code == 2);
}

TEST_CASE("a gate that cannot be read or measured is refused before the work", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const std::string quantize = "quantize --model tests/models/mini-llama -o " + out;
  for (const auto& [flag, words] :
       {std::pair{"--max-size 4XB", "U-GATE"}, std::pair{"--max-ppl-increase -1%", "U-GATE"},
        std::pair{"--min-sparsity 120%", "U-GATE"}, std::pair{"--max-ppl-increase 1%", "R20"},
        std::pair{"--max-kl 0.1", "R20"}}) {
    CAPTURE(flag);
    const CommandRun run = run_command(quantize + " " + flag, folder);
    CHECK(run.exit_code == 2);
    CHECK_THAT(run.err, Contains(words));
  }
  const CommandRun untimed = run_command(
      "run recipes/quickstart.ec.yaml --model tests/models/mini-llama --skip-speed-test "
      "--min-speedup 1.5 -o " +
          out,
      folder);
  CHECK(untimed.exit_code == 2);
  CHECK_THAT(untimed.err, Contains("--skip-speed-test"));
}

TEST_CASE("progress as JSON is an object per line that ends at its total", "[cli]") {
  const TempDir folder;
  const CommandRun run =
      run_command(kQuantize + (folder.path() / "out").string() + " --progress json", folder);
  REQUIRE(run.exit_code == 0);
  std::istringstream lines(run.err);
  nlohmann::json event;
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    event = nlohmann::json::parse(line);
    CHECK(event.at("event") == "progress");
    CHECK(event.at("done") <= event.at("total"));
    CHECK(event.at("rss_bytes") > 1'000'000);
  }
  CHECK(count >= 2);
  CHECK(event.at("done") == event.at("total"));
  const CommandRun quiet =
      run_command(kQuantize + (folder.path() / "quiet").string() + " -q", folder);
  CHECK(quiet.err.empty());
}

TEST_CASE("on GitHub Actions errors and failed gates are annotations", "[cli]") {
  const TempDir folder;
  ::setenv("GITHUB_ACTIONS", "true", 1);
  ::setenv("GITHUB_STEP_SUMMARY", (folder.path() / "summary.md").c_str(), 1);
  const fs::path bad = folder.write("bad.ec.yaml", "schema: edgecompress.recipe/v1\nnam: x\n");
  const CommandRun recipe = run_command("recipe check " + bad.string(), folder);
  const CommandRun gate =
      run_command(kQuantize + (folder.path() / "out").string() + " --max-size 1KiB", folder);
  ::unsetenv("GITHUB_ACTIONS");
  ::unsetenv("GITHUB_STEP_SUMMARY");
  CHECK_THAT(recipe.err, Contains("::error file=" + bad.string() + ",line=2,col=1::error[R6]"));
  CHECK_THAT(gate.err, Contains("::error title=gate failed::size_bytes is"));
  CHECK_THAT(file_text(folder.path() / "summary.md"), Contains("## Gates"));
  const CommandRun elsewhere = run_command("recipe check " + bad.string(), folder);
  CHECK_THAT(elsewhere.err, !Contains("::error"));
}

}  // namespace
}  // namespace edgecompress
