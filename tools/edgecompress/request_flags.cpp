#include "edgecompress/request_flags.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace edgecompress::cli {
namespace {

constexpr std::array<std::string_view, 28> kNeutral{"--model",
                                                    "--input-manifest",
                                                    "--output",
                                                    "-o",
                                                    "--overwrite",
                                                    "--json",
                                                    "--threads",
                                                    "--max-memory",
                                                    "--fresh",
                                                    "--no-resume",
                                                    "--onnxruntime",
                                                    "--skip-check",
                                                    "--skip-speed-test",
                                                    "--calibration",
                                                    "--keep-checkpoint",
                                                    "--progress",
                                                    "-q",
                                                    "--quiet",
                                                    "-v",
                                                    "--verbose",
                                                    "--log-file",
                                                    "--max-ppl-increase",
                                                    "--max-kl",
                                                    "--min-top1",
                                                    "--max-size",
                                                    "--min-sparsity",
                                                    "--min-speedup",
                                                    "--gate-before-publish"};

bool is_neutral(std::string_view flag) {
  return std::find(kNeutral.begin(), kNeutral.end(), flag) != kNeutral.end();
}

}  // namespace

std::vector<std::pair<std::string, std::string>> request_flags(
    const std::vector<std::string>& arguments) {
  std::vector<std::pair<std::string, std::string>> flags;
  for (std::size_t i = 1; i < arguments.size(); ++i) {  // [0] is the command
    const std::string& argument = arguments[i];
    if (!argument.starts_with('-')) continue;  // a recipe's path; its text is compared
    const std::size_t equals = argument.find('=');
    std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    const bool next_is_value = equals == std::string::npos && i + 1 < arguments.size() &&
                               !arguments[i + 1].starts_with('-');
    if (next_is_value) value = arguments[++i];
    if (!is_neutral(argument.substr(0, equals))) {
      flags.emplace_back(argument.substr(0, equals), std::move(value));
    }
  }
  std::stable_sort(flags.begin(), flags.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return flags;
}

}  // namespace edgecompress::cli
