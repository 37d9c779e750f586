#include <regex>
#include <set>

#include <yaml-cpp/yaml.h>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

const std::string kSource = EDGECOMPRESS_SOURCE_DIR;

/// A call of edgecompress in a script: the command, and the flags behind it.
struct ShownCall {
  std::string command;
  std::set<std::string> flags;
};

std::set<std::string> flags_in(const std::string& text) {
  static const std::regex kFlag("(^|\\s)(--[a-z][a-z0-9-]*)");
  std::set<std::string> flags;
  for (std::sregex_iterator found(text.begin(), text.end(), kFlag), end; found != end; ++found) {
    flags.insert((*found)[2]);
  }
  return flags;
}

/// Lines that begin with `program` and a command of one or two words.
std::vector<ShownCall> calls_in(const std::string& text, const std::string& program) {
  const std::regex line("(^|\\n)\\s*(?:- run: )?" + program + " ((?:recipe )?[a-z]+)([^\\n|]*)");
  std::vector<ShownCall> calls;
  for (std::sregex_iterator found(text.begin(), text.end(), line), end; found != end; ++found) {
    calls.push_back({.command = (*found)[2], .flags = flags_in((*found)[3])});
  }
  return calls;
}

void check_calls(const std::vector<ShownCall>& calls) {
  const TempDir folder;
  for (const ShownCall& call : calls) {
    CAPTURE(call.command);
    const CommandRun help = run_command(call.command + " --help", folder);
    REQUIRE(help.exit_code == 0);
    const std::set<std::string> known =
        flags_in(std::regex_replace(help.out, std::regex(","), " "));
    for (const std::string& flag : call.flags) {
      CAPTURE(flag);
      CHECK(known.contains(flag));
    }
  }
}

TEST_CASE("the GitHub action parses and calls edgecompress with flags that exist", "[cli]") {
  const YAML::Node action = YAML::LoadFile(kSource + "/.github/actions/edgecompress/action.yml");
  CHECK(action["runs"]["using"].as<std::string>() == "composite");
  std::vector<ShownCall> calls;
  for (const YAML::Node& step : action["runs"]["steps"]) {
    REQUIRE(step["shell"].as<std::string>() == "bash");
    const std::string script = step["run"].as<std::string>();
    CHECK(script.find("${{") == std::string::npos);  // inputs come as variables
    const std::vector<ShownCall> found = calls_in(script, "\"\\$PROGRAM\"");
    calls.insert(calls.end(), found.begin(), found.end());
    for (const auto& variable : step["env"]) {
      const std::string value = variable.second.as<std::string>();
      std::smatch input;
      REQUIRE(std::regex_match(value, input, std::regex("\\$\\{\\{ inputs\\.([a-z-]+) \\}\\}")));
      CAPTURE(value);
      CHECK(action["inputs"][input[1].str()]);
    }
  }
  REQUIRE(calls.size() == 3);
  CHECK(calls[1].command == "run");
  check_calls(calls);
}

TEST_CASE("docs/ci.md calls edgecompress with flags that exist", "[cli]") {
  const std::string text = file_text(kSource + "/docs/ci.md");
  std::vector<ShownCall> calls = calls_in(text, "edgecompress");
  REQUIRE(calls.size() >= 3);
  std::smatch flags;
  std::string rest = text;
  while (std::regex_search(rest, flags, std::regex("\\n +(baseline-)?flags: ([^\\n]*)"))) {
    calls.push_back({.command = flags[1].matched ? "diff" : "run", .flags = flags_in(flags[2])});
    rest = flags.suffix();
  }
  CHECK(calls.size() >= 6);
  check_calls(calls);
}

TEST_CASE("every command has its page and its completions where it is installed", "[cli]") {
  const TempDir folder;
  const std::string install = file_text(kSource + "/tools/cmake/Install.cmake");
  const std::string help = run_command("--help", folder).out;
  const std::string fish = run_command("completion fish", folder).out;
  const std::string bash = run_command("completion bash", folder).out;
  std::smatch named;
  REQUIRE(std::regex_search(install, named, std::regex("foreach\\(command ([a-z ]+)\\)")));
  const std::string pages = named[1].str() + " ";
  int commands = 0;
  const std::string list =
      help.substr(help.find("SUBCOMMANDS") == std::string::npos ? help.find("Subcommands")
                                                                : help.find("SUBCOMMANDS"));
  static const std::regex kCommand("\\n  ([a-z]+) ");
  for (std::sregex_iterator found(list.begin(), list.end(), kCommand), end; found != end; ++found) {
    const std::string command = (*found)[1];
    CAPTURE(command);
    ++commands;
    CHECK(fish.find("-a " + command + " ") != std::string::npos);
    CHECK(bash.find("\"" + command + "\")") != std::string::npos);
    if (command == "completion" || command == "man") continue;
    CHECK((" " + pages).find(" " + command + " ") != std::string::npos);
    CHECK(run_command("man " + command, folder).exit_code == 0);
  }
  CHECK(commands >= 17);
}

}  // namespace
}  // namespace edgecompress
