#pragma once

#include <iosfwd>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct LimitsOptions {
  bool json = false;
};

CLI::App* add_limits(CLI::App& app, LimitsOptions& options);

/// Prints what this machine gives a run.
void run_limits(const LimitsOptions& options, std::ostream& out);

}  // namespace edgecompress::cli
