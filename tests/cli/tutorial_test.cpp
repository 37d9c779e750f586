#include <cctype>
#include <filesystem>
#include <sstream>
#include <vector>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// A command of the tutorial and what it shows under it.
struct TutorialStep {
  std::string command;
  std::string output;
  int exit_code = 0;  ///< 1 when the line after the output is "exit code 1"
};

std::vector<TutorialStep> tutorial_steps() {
  std::istringstream lines(file_text(fs::path(EDGECOMPRESS_SOURCE_DIR) / "docs/tutorial.md"));
  std::vector<TutorialStep> steps;
  bool in_console = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      in_console = line == "```console";
    } else if (in_console && line.starts_with("$ ")) {
      steps.push_back({.command = line.substr(2), .output = {}});
    } else if (in_console && line == "(exit code 1)") {
      steps.back().exit_code = 1;
    } else if (in_console && !steps.empty()) {
      steps.back().output += line + "\n";
    }
  }
  return steps;
}

/// Numbers become "#", for they depend on the machine, as do their signs; runs of blanks become
/// one.
std::string shape_of(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool number = std::isdigit(static_cast<unsigned char>(c)) != 0;
    const bool glued = !out.empty() && out.back() == '#' && (c == '.' || c == ',');
    const bool signed_before = !out.empty() && (out.back() == '-' || out.back() == '+');
    if (number && signed_before) out.pop_back();
    if (number || glued) {
      if (out.empty() || out.back() != '#') out += '#';
    } else if (c != ' ' || out.empty() || out.back() != ' ') {
      out += c;
    }
  }
  return out;
}

TEST_CASE("every command of the tutorial does what the tutorial shows", "[cli]") {
  const std::vector<TutorialStep> steps = tutorial_steps();
  REQUIRE(steps.size() >= 8);
  const TempDir folder;
  const TempDir capture;
  for (const char* name : {"tests", "calibration", "recipes"}) {
    fs::create_directory_symlink(fs::path(EDGECOMPRESS_SOURCE_DIR) / name, folder.path() / name);
  }
  for (const TutorialStep& step : steps) {
    INFO(step.command);
    const std::string program = fs::path(EDGECOMPRESS_PROGRAM).parent_path().string();
    const fs::path out = capture.path() / "out";
    const std::string line = "cd " + folder.path().string() + " && PATH=" + program + ":$PATH && " +
                             step.command + " >" + out.string() + " 2>/dev/null </dev/null";
    const int status = std::system(line.c_str());
    CHECK(WEXITSTATUS(status) == step.exit_code);
    if (!step.output.empty()) CHECK(shape_of(file_text(out)) == shape_of(step.output));
  }
}

}  // namespace
}  // namespace edgecompress
