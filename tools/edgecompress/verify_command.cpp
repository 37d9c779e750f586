#include "edgecompress/verify_command.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "base/parallel.h"
#include "edgecompress/error_report.h"

namespace edgecompress::cli {
namespace {

using Json = nlohmann::ordered_json;

/// Names and messages come from files: bytes that are not UTF-8 become U+FFFD.
void print_json(const Verification& verification, const VerifyOptions& options, std::ostream& out) {
  Json document{{"folder", options.folder.string()}, {"good", verification.good()},
                {"files", verification.files},       {"bytes", verification.bytes},
                {"checks", verification.checks},     {"problems", Json::array()}};
  for (const VerifyProblem& problem : verification.problems) {
    document["problems"].push_back(
        {{"code", problem.code}, {"file", problem.file}, {"message", problem.message}});
  }
  out << document.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
}

void print_text(const Verification& verification, std::ostream& out) {
  for (const std::string& check : verification.checks) out << "checked: " << check << "\n";
  for (const VerifyProblem& problem : verification.problems) {
    out << problem.code << "  " << printable(problem.file) << "  " << printable(problem.message)
        << "\n";
  }
  if (verification.good()) {
    out << "good: " << verification.files << " files, " << verification.bytes << " bytes\n";
  } else {
    out << "bad: " << verification.problems.size() << " problems\n";
  }
}

}  // namespace

CLI::App* add_verify(CLI::App& app, VerifyOptions& options) {
  CLI::App* const command =
      app.add_subcommand("verify", "check that an output is what its run wrote, byte for byte");
  command->add_option("folder", options.folder, "folder that edgecompress wrote")->required();
  command->add_option("--source", options.source,
                      "the model folder it was made of: compare with it too");
  command->add_option("--threads", options.threads, "threads to use")
      ->check(CLI::Range(1, 1024))
      ->default_str("all");
  command->add_flag("--json", options.json, "print JSON on stdout");
  add_message_flags(*command, options.messages);
  command->footer(
      "Examples:\n"
      "  edgecompress verify out\n"
      "  edgecompress verify out --source llama --json");
  return command;
}

Verification verify(const VerifyOptions& options, const Progress& progress) {
  std::optional<std::filesystem::path> source;
  if (!options.source.empty()) source = options.source;
  return verify_folder(options.folder, source,
                       options.threads > 0 ? options.threads : available_threads(), progress);
}

int print_verification(const Verification& verification, const VerifyOptions& options,
                       std::ostream& out) {
  if (options.json) {
    print_json(verification, options, out);
  } else {
    print_text(verification, out);
  }
  return verification.good() ? 0 : 1;
}

}  // namespace edgecompress::cli
