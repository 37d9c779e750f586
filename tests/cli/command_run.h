#pragma once

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include <sys/wait.h>

#include "support/temp_dir.h"

namespace edgecompress {

/// What a command line printed and how it ended.
struct CommandRun {
  int exit_code = 0;
  std::string out;
  std::string err;
};

inline std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Runs the built edgecompress through the shell, in the source folder.
inline CommandRun run_command(const std::string& arguments, const TempDir& folder) {
  const std::filesystem::path out = folder.path() / "stdout.txt";
  const std::filesystem::path err = folder.path() / "stderr.txt";
  const std::string line = "cd " EDGECOMPRESS_SOURCE_DIR " && " EDGECOMPRESS_PROGRAM " " +
                           arguments + " >" + out.string() + " 2>" + err.string() + " </dev/null";
  const int status = std::system(line.c_str());
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .out = file_text(out),
          .err = file_text(err)};
}

}  // namespace edgecompress
