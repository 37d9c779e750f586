#pragma once

#include <string>

#include "edgecompress/shared_options.h"
#include "onnx_export/export_model.h"

namespace edgecompress::cli {

struct ExportCommandOptions {
  OutputFlags output;
  ComputeFlags compute;
  std::string format = "genai";
  int accuracy_level = 4;
  std::string sparse_from;  ///< a share; empty: the measured table
  int scale_bits = 32;
  std::int64_t context_length = 0;
  std::string int8_style = "auto";
  bool skip_check = false;
  std::filesystem::path onnxruntime;
};

CLI::App* add_export(CLI::App& app, ExportCommandOptions& options);

ExportOptions export_options(const ExportCommandOptions& options, int num_threads);

}  // namespace edgecompress::cli
