#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct PlanCommandOptions {
  std::filesystem::path recipe;
  std::filesystem::path model;  ///< or
  std::string shape;            ///< of a published model; exactly one of the two
  std::vector<std::string> overrides;
  bool tensors = false;
  bool skip_speed_test = false;
  bool skip_time = false;
  bool json = false;
};

CLI::App* add_plan(CLI::App& app, PlanCommandOptions& options);

}  // namespace edgecompress::cli
