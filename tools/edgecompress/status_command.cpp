#include "edgecompress/status_command.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/staged_output.h"
#include "edgecompress/error_report.h"
#include "report/text_numbers.h"
#include "verify/output_status.h"

namespace edgecompress::cli {
namespace {

using Json = nlohmann::ordered_json;

Json published_json(const PublishedOutput& published) {
  Json out{{"written_by_edgecompress", published.is_ours}};
  if (!published.is_ours) return out;
  out["tool_version"] = published.tool_version;
  out["files"] = published.files;
  out["bytes"] = published.bytes;
  out["missing_or_resized"] = published.gone;
  return out;
}

Json unpublished_json(const OutputStatus& status) {
  const UnpublishedOutput& unpublished = *status.unpublished;
  Json out{{"folder", staging_place(status.output).string()},
           {"bytes", unpublished.bytes},
           {"finished", nullptr},
           {"writer", nullptr}};
  if (unpublished.finished) out["finished"] = *unpublished.finished;
  if (unpublished.writer) {
    out["writer"] = {{"pid", unpublished.writer->pid}, {"host", unpublished.writer->host}};
  }
  return out;
}

Json status_json(const OutputStatus& status) {
  Json out{{"schema", "edgecompress.status/v1"},
           {"output", status.output.string()},
           {"state", status.state()},
           {"published", nullptr},
           {"unpublished", nullptr}};
  if (status.published) out["published"] = published_json(*status.published);
  if (status.unpublished) out["unpublished"] = unpublished_json(status);
  return out;
}

std::string bytes_text(std::uint64_t bytes) { return size_text(static_cast<std::int64_t>(bytes)); }

std::string writer_text(const OutputWriter& writer) {
  if (writer.pid == 0) return "a process that its lock does not name";
  return concat("process ", writer.pid, " on ", writer.host);
}

void print_unpublished(const OutputStatus& status, std::ostream& out) {
  const UnpublishedOutput& unpublished = *status.unpublished;
  const std::string kept = concat(bytes_text(unpublished.bytes), " in ",
                                  printable(staging_place(status.output).string()));
  const std::string done = printable(unpublished.finished.value_or("no decoder block"));
  if (unpublished.writer) {
    out << "running: " << printable(writer_text(*unpublished.writer)) << " is writing it; " << done
        << " is done, " << kept << "\n";
  } else if (unpublished.finished) {
    out << "interrupted: " << done << " is done, " << kept
        << "; the same command goes on behind it, --fresh begins anew\n";
  } else {
    out << "interrupted: nothing to go on with, " << kept
        << "; the same command deletes it and begins anew\n";
  }
}

void print_published(const PublishedOutput& published, std::ostream& out) {
  if (!published.is_ours) {
    out << "foreign: it has no manifest of edgecompress, so no run replaces it unless it is "
           "empty\n";
    return;
  }
  const std::string size = concat(published.files, " files, ", bytes_text(published.bytes));
  if (published.gone.empty()) {
    out << "complete: " << size << ", written by edgecompress " << printable(published.tool_version)
        << "; sizes are right, hashes were not read (edgecompress verify reads them)\n";
    return;
  }
  out << "damaged: of " << size << " these are missing or have another size:\n";
  for (const std::string& name : published.gone) out << "  " << printable(name) << "\n";
}

}  // namespace

CLI::App* add_status(CLI::App& app, StatusOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "status", "show whether an output is being written, was interrupted, or is complete");
  command->add_option("output", options.output, "what -o named")->required();
  command->add_flag("--json", options.json, "print JSON on stdout");
  command->footer(
      "Examples:\n"
      "  edgecompress status out\n"
      "  edgecompress status out --json");
  return command;
}

void run_status(const StatusOptions& options, std::ostream& out) {
  const OutputStatus status = status_of(options.output);
  if (options.json) {
    out << status_json(status).dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
    return;
  }
  if (status.unpublished) print_unpublished(status, out);
  if (status.published) print_published(*status.published, out);
  if (!status.unpublished && !status.published) out << "absent: nothing is there\n";
}

}  // namespace edgecompress::cli
