#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

const fs::path source = EDGECOMPRESS_SOURCE_DIR;

/// The examples that `edgecompress COMMAND --help` ends with.
std::vector<std::string> examples_of(const std::string& command, const TempDir& capture) {
  std::istringstream help(run_command(command + " --help", capture).out);
  std::vector<std::string> examples;
  bool begun = false;
  for (std::string line; std::getline(help, line);) {
    if (line == "Examples:") begun = true;
    if (begun && line.starts_with("  edgecompress ")) examples.push_back(line.substr(2));
  }
  return examples;
}

/// The names below "Subcommands:" of a help.
std::vector<std::string> subcommands_of(const std::string& command, const TempDir& capture) {
  std::istringstream help(run_command(command + " --help", capture).out);
  std::vector<std::string> names;
  bool begun = false;
  for (std::string line; std::getline(help, line);) {
    if (line.empty()) begun = false;
    if (begun) names.push_back(line.substr(2, line.find(' ', 2) - 2));
    if (line == "Subcommands:") begun = true;
  }
  return names;
}

/// Runs a line of a shell in `folder`, where `edgecompress` is the built one and the home is empty.
CommandRun run_line(const std::string& line, const fs::path& folder, const TempDir& capture) {
  const fs::path out = capture.path() / "stdout.txt";
  const fs::path err = capture.path() / "stderr.txt";
  const fs::path script = capture.path() / "line.sh";
  std::ofstream(script) << "set -e -o pipefail\ncd " << folder << "\nexport HOME=" << folder
                        << " PATH=" << capture.path() << ":"
                        << fs::path(EDGECOMPRESS_PROGRAM).parent_path() << ":$PATH\n"
                        << line << "\n";
  const std::string call =
      "bash " + script.string() + " >" + out.string() + " 2>" + err.string() + " </dev/null";
  const int status = std::system(call.c_str());
  return {.exit_code = WEXITSTATUS(status), .out = file_text(out), .err = file_text(err)};
}

std::string source_text(const char* name) { return file_text(source / name); }

/// The first lines of the evaluation text, a little more than `bytes`.
void write_beginning(const fs::path& path, std::size_t bytes) {
  const std::string text = source_text("calibration/evaluation.txt");
  std::ofstream(path) << text.substr(0, text.find('\n', bytes));
}

/// The calibration text often enough for 128 samples of 512 tokens, as text and as an object per
/// paragraph.
void write_calibration(const fs::path& text_path, const fs::path& json_lines_path) {
  const std::string text = source_text("calibration/calibration.txt");
  std::ofstream texts(text_path);
  std::ofstream objects(json_lines_path);
  for (int turn = 0; turn < 5; ++turn) {
    texts << text;
    std::istringstream paragraphs(text);
    for (std::string line; std::getline(paragraphs, line);) {
      const bool plain = line.find_first_of("\"\\") == std::string::npos;
      if (plain && !line.empty()) objects << "{\"text\": \"" << line << "\"}\n";
    }
  }
}

/// mini-llama, said to take the 2048 tokens of eval's default window.
void write_model(const fs::path& folder) {
  fs::copy(source / "tests/models/mini-llama", folder);
  std::string config = file_text(folder / "config.json");
  const std::string context = "\"max_position_embeddings\": 512";
  REQUIRE(config.find(context) != std::string::npos);
  config.replace(config.find(context), context.size(), "\"max_position_embeddings\": 2048");
  std::ofstream(folder / "config.json") << config;
}

/// What the examples take for granted, by the names they use. The texts are short and the models
/// made by cheap methods.
void make_inputs(const fs::path& folder, const TempDir& capture) {
  write_model(folder / "whole");
  fs::copy(source / "recipes", folder / "recipes", fs::copy_options::recursive);
  for (const char* name : {"tests", "calibration"})
    fs::create_symlink(source / name, folder / name);
  write_calibration(folder / "calib.txt", folder / "calib.jsonl");
  write_beginning(folder / "train.txt", 8000);
  write_beginning(folder / "val.txt", 8000);
  write_beginning(folder / "wiki.test.raw", 12000);
  std::ofstream(folder / "release.ec.yaml") << R"(schema: edgecompress.recipe/v1
name: release
steps:
  - { id: quant, quantize: { method: rtn, weights: { bits: 8, group_size: 64 } } }
  - { id: artifact, export: { format: genai } }
evaluate: { text: val.txt, window: 128, max_windows: 4 }
)";
  std::ofstream(capture.path() / "man") << "#!/bin/sh\ngrep -c '^.TH'\n";
  fs::permissions(capture.path() / "man", fs::perms::owner_all);
  fs::create_directories(folder / ".config/fish/completions");
  fs::create_directories(folder / ".local/share/bash-completion/completions");
  for (const char* line :
       {"edgecompress prune --model whole -o llama --drop-layer 1 --drop-layer 2 --drop-layer 3",
        "edgecompress quantize --model llama -o llama-int4 --group-size 64",
        "edgecompress quantize --model llama -o llama-int8 --bits 8 --group-size channel",
        "edgecompress prune --model llama -o llama-24 --mask 2:4 --mask-method magnitude",
        "edgecompress prune --model llama -o masked --mask 16x4 --mask-method magnitude "
        "--mask-sparsity 50%",
        "edgecompress quantize --model masked -o llama-masked-int4 --group-size 64",
        "edgecompress run release.ec.yaml --model llama -o out",
        "mkdir old new; cp out/report.json old; cp out/report.json new; cp -r out last-release"}) {
    const CommandRun made = run_line(line, folder, capture);
    INFO(line << "\n" << made.err);
    REQUIRE(made.exit_code == 0);
  }
}

/// A copy by links of `inputs` without what stands behind -o, so that examples neither meet nor
/// change each other's outputs.
void link_inputs(const fs::path& inputs, const fs::path& folder, const std::string& example) {
  fs::create_directory(folder);
  for (const fs::directory_entry& entry : fs::directory_iterator(inputs)) {
    const std::string name = entry.path().filename().string();
    if (example.find("-o " + name + " ") != std::string::npos || example.ends_with("-o " + name))
      continue;
    fs::create_symlink(entry.path(), folder / name);
  }
}

TEST_CASE("every example of every help runs", "[cli]") {
  const TempDir capture;
  const TempDir inputs;
  const TempDir runs;
  make_inputs(inputs.path(), capture);
  std::vector<std::string> commands = subcommands_of("", capture);
  REQUIRE(commands.size() > 10);
  for (const std::string& action : subcommands_of("recipe", capture))
    commands.push_back("recipe " + action);
  std::size_t count = 0;
  for (const std::string& command : commands) {
    const std::vector<std::string> examples = examples_of(command, capture);
    INFO(command);
    CHECK(examples.size() >= 2);
    for (const std::string& example : examples) {
      const fs::path folder = runs.path() / std::to_string(count++);
      link_inputs(inputs.path(), folder, example);
      const CommandRun run = run_line(example, folder, capture);
      INFO(example << "\n" << run.err);
      CHECK(run.exit_code == 0);
    }
  }
}

}  // namespace
}  // namespace edgecompress
