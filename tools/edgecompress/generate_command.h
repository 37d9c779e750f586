#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

struct GenerateOptions {
  std::filesystem::path artifact;
  std::filesystem::path onnxruntime;
  std::string prompt;
  std::int64_t max_tokens = 64;
  double temperature = 0;
  std::int64_t top_k = 0;
  double top_p = 1;
  std::uint64_t seed = 0;
  std::int64_t beams = 1;
  bool special_tokens = false;  ///< printed too
  int threads = 0;              ///< 0: all that the process may use
  bool json = false;
};

CLI::App* add_generate(CLI::App& app, GenerateOptions& options);

/// Prints what an artifact says behind a prompt.
void run_generate(const GenerateOptions& options, std::ostream& out);

}  // namespace edgecompress::cli
