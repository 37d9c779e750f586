#pragma once

#include <filesystem>
#include <iosfwd>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct VerifyOptions {
  std::filesystem::path folder;
  std::filesystem::path source;  ///< empty: not compared
  int threads = 0;               ///< 0: all that the process may use
  bool json = false;
};

CLI::App* add_verify(CLI::App& app, VerifyOptions& options);

/// Prints what was checked and every problem. Returns the exit code: 0, or 1 when there are
/// problems.
int run_verify(const VerifyOptions& options, std::ostream& out);

}  // namespace edgecompress::cli
