#pragma once

#include <filesystem>
#include <iosfwd>

#include <CLI/CLI.hpp>

#include "base/progress.h"
#include "edgecompress/shared_options.h"
#include "verify/verify_folder.h"

namespace edgecompress::cli {

struct VerifyOptions {
  std::filesystem::path folder;
  std::filesystem::path source;  ///< empty: not compared
  int threads = 0;               ///< 0: all that the process may use
  bool json = false;
  MessageFlags messages;
};

CLI::App* add_verify(CLI::App& app, VerifyOptions& options);

/// Throws as verify_folder.
Verification verify(const VerifyOptions& options, const Progress& progress);

/// Prints what was checked and every problem. Returns the exit code: 0, or 1 when there are
/// problems.
int print_verification(const Verification& verification, const VerifyOptions& options,
                       std::ostream& out);

}  // namespace edgecompress::cli
