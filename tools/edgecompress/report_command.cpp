#include "edgecompress/report_command.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/staged_output.h"
#include "edgecompress/error_report.h"
#include "recipe/fields.h"
#include "report/html_report.h"
#include "report/read_report.h"
#include "report/report_diff.h"

namespace edgecompress::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestReport = std::uint64_t{64} << 20;
constexpr int kLimitPassed = 1;

Report open_report(const fs::path& path) {
  std::error_code ignored;  // whatever is no folder shows when it is opened as a file
  const fs::path file = fs::is_directory(path, ignored) ? path / "report.json" : path;
  return read_report(read_text_file(file, kLargestReport), file.string());
}

std::optional<double> limit_of(const std::string& text, const char* flag) {
  if (text.empty()) return {};
  const std::optional<double> limit = edgecompress::parse_share(text);
  if (limit && *limit >= 0) return limit;
  throw Error(ErrorKind::Usage, "U-GATE",
              concat(flag, ": expected a share such as 1% or 0.01, found \"", text, "\""));
}

}  // namespace

CLI::App* add_report(CLI::App& app, ReportCommandOptions& options) {
  CLI::App* const command =
      app.add_subcommand("report", "show a report again, or write it as a page");
  command->add_option("report", options.report, "report.json, or the folder it lies in")
      ->required();
  command->add_option("--html", options.html, "write one self-contained HTML page");
  command->add_option("--md", options.markdown, "write Markdown");
  command->footer(
      "Examples:\n"
      "  edgecompress report out\n"
      "  edgecompress report out/report.json --html report.html --md report.md");
  return command;
}

void run_report_command(const ReportCommandOptions& options, std::ostream& out) {
  const Report report = open_report(options.report);
  if (!options.html.empty()) write_file_atomically(options.html, html_report(report));
  if (!options.markdown.empty()) write_file_atomically(options.markdown, markdown_report(report));
  if (options.html.empty() && options.markdown.empty()) out << report_table(report);
}

CLI::App* add_diff(CLI::App& app, DiffCommandOptions& options) {
  CLI::App* const command =
      app.add_subcommand("diff", "compare two reports, and fail when the second is worse");
  command->add_option("first", options.first, "report.json or its folder: what it was")->required();
  command->add_option("second", options.second, "report.json or its folder: what it is")
      ->required();
  command->add_option("--max-ppl-increase", options.max_perplexity_increase,
                      "fail when perplexity grows by more, for example 1%");
  command->add_option("--max-size-increase", options.max_size_increase,
                      "fail when the size grows by more");
  command->add_option("--max-top1-decrease", options.max_top1_decrease,
                      "fail when top-1 agreement falls by more points, for example 2%");
  command->add_option("--max-slowdown", options.max_slowdown,
                      "fail when decoding loses more of its speed");
  command->add_flag("--markdown", options.markdown, "print Markdown, for pull requests");
  command->add_flag("--json", options.json, "print JSON");
  command->footer(
      "Examples:\n"
      "  edgecompress diff last-release out\n"
      "  edgecompress diff old/report.json new/report.json --max-ppl-increase 1% --markdown");
  return command;
}

int run_diff(const DiffCommandOptions& options, std::ostream& out, std::ostream& err) {
  const DiffLimits limits{
      .perplexity_increase = limit_of(options.max_perplexity_increase, "--max-ppl-increase"),
      .size_increase = limit_of(options.max_size_increase, "--max-size-increase"),
      .top1_decrease = limit_of(options.max_top1_decrease, "--max-top1-decrease"),
      .speed_decrease = limit_of(options.max_slowdown, "--max-slowdown")};
  const ReportDiff diff =
      diff_reports(open_report(options.first), open_report(options.second), limits);
  if (options.json) {
    out << diff_json(diff).dump(1) << "\n";
  } else if (options.markdown) {
    out << diff_markdown(diff);
  } else {
    out << printable(diff_table(diff));
  }
  for (const DiffRow& row : diff.rows) {
    if (row.passed) continue;
    err << "limit passed: " << row.metric << " " << row.first_text << " -> " << row.second_text
        << " (" << row.change_text << ")" << std::endl;
  }
  return diff.passed() ? 0 : kLimitPassed;
}

}  // namespace edgecompress::cli
