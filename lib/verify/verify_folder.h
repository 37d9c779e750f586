#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"

namespace edgecompress {

/// One way in which a folder is not what its run wrote. Codes: docs/cli.md.
struct VerifyProblem {
  std::string code;     ///< "V1" ... "V9"
  std::string file;     ///< path inside the folder, or a module's name
  std::string message;  ///< what was expected and what was found
};

struct Verification {
  std::uint64_t files = 0;          ///< that the manifest lists
  std::uint64_t bytes = 0;          ///< of them, as listed
  std::vector<std::string> checks;  ///< what was compared, one line each; a check that could not be
                                    ///< made is not there
  std::vector<VerifyProblem> problems;

  bool good() const { return problems.empty(); }
};

/// Checks a folder that edgecompress wrote against itself:
/// - its manifest: every listed file is there with its size and SHA-256, and no other file is;
/// - its formats: a model folder opens, and every code and scale is read; a graph passes
///   validate_onnx_folder;
/// - its report: zeros counted again, shapes and sizes of tensors, hashes of the artifact's files;
/// - its source, when given: config.json's hash as the report has it, tokenizer files byte by byte.
///
/// Nothing in `folder` is trusted: damage shows as a problem, never as an exception.
/// Throws   Error{Missing} when `folder` or `source` is no folder.
/// Cost     reads every byte of the folder about twice; a few rows of a matrix in memory.
Verification verify_folder(const std::filesystem::path& folder,
                           const std::optional<std::filesystem::path>& source, int num_threads,
                           const Progress& progress);

}  // namespace edgecompress
