#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct ReportCommandOptions {
  std::filesystem::path report;  ///< report.json or a folder with one
  std::filesystem::path html;    ///< file to write; empty: none
  std::filesystem::path markdown;
};
CLI::App* add_report(CLI::App& app, ReportCommandOptions& options);
void run_report_command(const ReportCommandOptions& options, std::ostream& out);

struct DiffCommandOptions {
  std::filesystem::path first;
  std::filesystem::path second;
  std::string max_perplexity_increase;  ///< empty: no limit
  std::string max_size_increase;
  std::string max_top1_decrease;
  std::string max_slowdown;
  bool markdown = false;
  bool json = false;
};
CLI::App* add_diff(CLI::App& app, DiffCommandOptions& options);
/// Returns the exit code: 1 when a limit is passed.
int run_diff(const DiffCommandOptions& options, std::ostream& out, std::ostream& err);

}  // namespace edgecompress::cli
