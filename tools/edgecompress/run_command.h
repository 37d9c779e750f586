#pragma once

#include "edgecompress/shared_options.h"

namespace edgecompress::cli {

struct RunCommandOptions {
  OutputFlags output;
  ComputeFlags compute;
  std::filesystem::path recipe;
  bool keep_checkpoint = false;
  bool skip_check = false;
  bool skip_speed_test = false;
  std::filesystem::path onnxruntime;
};

CLI::App* add_run(CLI::App& app, RunCommandOptions& options);

}  // namespace edgecompress::cli
