#pragma once

#include <filesystem>
#include <iosfwd>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct InspectOptions {
  std::filesystem::path path;
  bool tensors = false;
  bool json = false;
};

CLI::App* add_inspect(CLI::App& app, InspectOptions& options);

/// Prints what a model folder, a safetensors file or an ONNX folder holds, from headers alone.
void run_inspect(const InspectOptions& options, std::ostream& out);

}  // namespace edgecompress::cli
