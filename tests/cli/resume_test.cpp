#include <cstdlib>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A copy of mini-llama whose quantization is killed behind its second block.
class KilledRun {
 public:
  KilledRun() {
    fs::copy(fs::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama", model());
    ::setenv("EDGECOMPRESS_KILL_AT", "journal-after:3", 1);
    const CommandRun killed = run();
    ::unsetenv("EDGECOMPRESS_KILL_AT");
    REQUIRE(killed.exit_code == 128 + SIGKILL);
    REQUIRE(fs::exists(output() + ".partial/resume/state.json"));
    REQUIRE_FALSE(fs::exists(output()));
  }

  fs::path model() const { return folder_.path() / "model"; }
  std::string output() const { return (folder_.path() / "out").string(); }

  CommandRun run(const std::string& flags = "--group-size 32") const {
    return run_command("quantize --model " + model().string() + " -o " + output() + " " + flags,
                       folder_);
  }

 private:
  TempDir folder_;
};

TEST_CASE("a killed run goes on behind its last finished block with the same bytes", "[cli]") {
  const KilledRun killed;
  const CommandRun resumed = killed.run("--threads 1 --group-size=32");  // the order is no matter
  INFO(resumed.err);
  REQUIRE(resumed.exit_code == 0);
  CHECK(contains(resumed.err, "had finished decoder block 2 of 4"));
  CHECK(contains(resumed.err, "the run before was killed"));
  CHECK_FALSE(fs::exists(killed.output() + ".partial"));
  CHECK_FALSE(fs::exists(killed.output() + ".lock"));
  const fs::path whole = killed.model().parent_path() / "whole";
  fs::rename(killed.output(), whole);
  const CommandRun undisturbed = killed.run();
  REQUIRE(undisturbed.exit_code == 0);
  CHECK_FALSE(contains(undisturbed.err, "was killed"));
  for (const fs::directory_entry& file : fs::directory_iterator(whole)) {
    const std::string name = file.path().filename().string();
    if (name == "report.json" || name == "edgecompress.manifest.json") continue;
    CAPTURE(name);
    CHECK((file_text(file.path()) == file_text(fs::path(killed.output()) / name)));
  }
}

TEST_CASE("what an interrupted run left is not used for other work, nor lost", "[cli]") {
  const KilledRun killed;
  const CommandRun other_bits = killed.run("--group-size 32 --bits 8");
  CHECK(other_bits.exit_code == 75);
  CHECK(contains(other_bits.err, "error[O-CHANGED]"));
  CHECK(contains(other_bits.err, "--bits: then absent, now \"8\""));

  const fs::path config = killed.model() / "config.json";
  const std::string text = file_text(config);
  std::ofstream(config, std::ios::app) << "\n";
  const CommandRun other_config = killed.run();
  CHECK(other_config.exit_code == 75);
  CHECK(contains(other_config.err, "config.json: then"));
  std::ofstream(config, std::ios::trunc) << text;

  const fs::path shard = killed.model() / "model.safetensors";
  const fs::file_time_type modified = fs::last_write_time(shard);
  fs::last_write_time(shard, modified + std::chrono::seconds(1));
  const CommandRun touched = killed.run();
  CHECK(touched.exit_code == 75);
  CHECK(contains(touched.err, "model.safetensors: then"));
  fs::last_write_time(shard, modified);

  CHECK(contains(killed.run().err, "had finished decoder block 2 of 4"));
}

TEST_CASE("--fresh and --no-resume delete what an interrupted run left", "[cli]") {
  for (const char* flag : {"--fresh", "--no-resume"}) {
    const KilledRun killed;
    const CommandRun done = killed.run("--bits 8 " + std::string(flag));
    INFO(done.err);
    CHECK(done.exit_code == 0);
    CHECK_FALSE(contains(done.err, "interrupted"));
    CHECK_FALSE(fs::exists(killed.output() + ".partial"));
  }
}

TEST_CASE("a damaged journal stops the run instead of starting it anew", "[cli]") {
  const KilledRun killed;
  fs::resize_file(killed.output() + ".partial/resume/state.json", 100);
  const CommandRun run = killed.run();
  CHECK(run.exit_code == 75);
  CHECK(contains(run.err, "error[O-STATE]"));
  CHECK(contains(run.err, "--fresh"));
}

}  // namespace
}  // namespace edgecompress
