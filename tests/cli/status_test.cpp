#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
using nlohmann::json;
namespace fs = std::filesystem;

const std::string kQuantize = "quantize --model tests/models/mini-llama --bits 8 -o ";

json json_of(const std::string& arguments, const TempDir& folder) {
  const CommandRun run = run_command(arguments, folder);
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(run.err.empty());
  return json::parse(run.out);
}

TEST_CASE("status says what is under an output's name", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const std::string status = "status " + out + " --json";
  CHECK(json_of(status, folder).at("state") == "absent");

  ::setenv("EDGECOMPRESS_KILL_AT", "journal-after:3", 1);
  CHECK(run_command(kQuantize + out, folder).exit_code == 128 + SIGKILL);
  ::unsetenv("EDGECOMPRESS_KILL_AT");
  const json interrupted = json_of(status, folder);
  CHECK(interrupted.at("state") == "interrupted");
  CHECK(interrupted.at("unpublished").at("finished") == "decoder block 2 of 4");
  CHECK(interrupted.at("unpublished").at("writer").is_null());
  CHECK_THAT(run_command("status " + out, folder).out,
             Contains("decoder block 2 of 4 is done") && Contains("the same command goes on"));

  REQUIRE(run_command(kQuantize + out, folder).exit_code == 0);
  const json complete = json_of(status, folder);
  CHECK(complete.at("state") == "complete");
  CHECK(complete.at("unpublished").is_null());
  CHECK(complete.at("published").at("tool_version") == EDGECOMPRESS_VERSION);
  CHECK(complete.at("published").at("files") ==
        std::distance(fs::directory_iterator(out), fs::directory_iterator()) - 1);

  fs::resize_file(out + "/config.json", 3);
  const json damaged = json_of(status, folder);
  CHECK(damaged.at("state") == "damaged");
  CHECK(damaged.at("published").at("missing_or_resized") == json{"config.json"});
  CHECK(json_of("status tests/models --json", folder).at("state") == "foreign");
}

TEST_CASE("status and a second run name the process that is writing", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const int lock = ::open((out + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  REQUIRE(lock >= 0);
  REQUIRE(::flock(lock, LOCK_EX | LOCK_NB) == 0);
  REQUIRE(::write(lock, "4321 far\n", 9) == 9);
  const json running = json_of("status " + out + " --json", folder);
  CHECK(running.at("state") == "running");
  CHECK(running.at("unpublished").at("writer") == json{{"pid", 4321}, {"host", "far"}});
  const CommandRun second = run_command(kQuantize + out, folder);
  CHECK(second.exit_code == 75);
  CHECK_THAT(second.err, Contains("O-LOCKED") && Contains("process 4321 on far"));
  ::close(lock);
  CHECK(json_of("status " + out + " --json", folder).at("state") == "absent");
}

TEST_CASE("version and limits say what is there", "[cli]") {
  const TempDir folder;
  const json version = json_of("--version --json", folder);
  CHECK(version.at("version") == EDGECOMPRESS_VERSION);
  CHECK(version.at("onnxruntime_api") == 17);
  CHECK(version.at("instruction_sets").at(0) == "scalar");
  CHECK(version.at("torch").get<std::string>().find('.') != std::string::npos);
  CHECK(run_command("--json inspect tests/models/mini-llama", folder).exit_code == 2);

  const json limits = json_of("limits --json", folder);
  const json& memory = limits.at("memory");
  CHECK(memory.at("default_max_memory_bytes") <= memory.at("machine_bytes"));
  CHECK(limits.at("threads").at("default") >= 1);
  CHECK(limits.at("onnxruntime").at("version").is_string());
  ::setenv("EDGECOMPRESS_ONNXRUNTIME", "/no/such.so", 1);
  const json without = json_of("limits --json", folder);
  ::unsetenv("EDGECOMPRESS_ONNXRUNTIME");
  CHECK(without.at("onnxruntime").at("path").is_null());
  CHECK_THAT(without.at("onnxruntime").at("problem").get<std::string>(), Contains("/no/such.so"));
  CHECK_THAT(run_command("limits", folder).out, Contains("--max-memory") && Contains("opset 21"));
}

TEST_CASE("a log file keeps the command, every step, messages and the end", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const std::string log = (folder.path() / "run.log").string();
  const CommandRun quiet = run_command(kQuantize + out + " -q --log-file " + log, folder);
  REQUIRE(quiet.exit_code == 0);
  CHECK(quiet.err.empty());
  CHECK_THAT(file_text(log), Contains("quantize --model tests/models/mini-llama") &&
                                 Contains("threads") && Contains(" 4/4") &&
                                 Contains("ended with exit code 0"));
  const std::size_t length = file_text(log).size();
  CHECK(run_command(kQuantize + out + " --log-file " + log, folder).exit_code == 73);
  CHECK_THAT(file_text(log).substr(length), Contains("error[O-CREATE]") && Contains("code 73"));
  CHECK(run_command("quantize --model /no/such --bits 8 -o " + out + "2 --log-file " + log, folder)
            .exit_code == 66);
  CHECK_THAT(file_text(log), Contains("--model /no/such") && Contains("ended with exit code 66"));
  const CommandRun nowhere = run_command(kQuantize + out + "2 --log-file /no/such/run.log", folder);
  CHECK(nowhere.exit_code == 73);
  CHECK_FALSE(fs::exists(out + "2"));
}

TEST_CASE("-v shows every step and what the run may use", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const CommandRun verbose = run_command(kQuantize + out + " -v --threads 1", folder);
  REQUIRE(verbose.exit_code == 0);
  CHECK_THAT(verbose.err, Contains("1 threads") && Contains(" 1/4") && Contains(" 4/4"));
  CHECK(run_command(kQuantize + out + " --overwrite -v -q", folder).exit_code == 2);
  const CommandRun lines = run_command(kQuantize + out + " --overwrite -v --progress json", folder);
  REQUIRE(lines.exit_code == 0);
  CHECK(lines.err.starts_with("{\"event\""));
}

}  // namespace
}  // namespace edgecompress
