#pragma once

#include <string>

#include "edgecompress/gate_flags.h"
#include "edgecompress/shared_options.h"

namespace edgecompress::cli {

struct EvalOptions {
  ComputeFlags compute;
  GateFlags gates;
  std::filesystem::path model;
  std::filesystem::path artifact;
  std::filesystem::path against;
  std::filesystem::path text;
  std::string protocol = "gptq-2048";
  std::int64_t window = 2048;
  std::int64_t windows = 0;  ///< 0: all
  std::string window_order = "spread";
  std::string activations = "auto";
  std::filesystem::path onnxruntime;
  bool json = false;
};

CLI::App* add_eval(CLI::App& app, EvalOptions& options);

}  // namespace edgecompress::cli
