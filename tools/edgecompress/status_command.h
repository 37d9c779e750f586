#pragma once

#include <filesystem>
#include <iosfwd>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct StatusOptions {
  std::filesystem::path output;
  bool json = false;
};

CLI::App* add_status(CLI::App& app, StatusOptions& options);

/// Prints what lies under an output's name, and what a run is writing or left there.
void run_status(const StatusOptions& options, std::ostream& out);

}  // namespace edgecompress::cli
