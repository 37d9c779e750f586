#pragma once

#include <string>
#include <vector>

#include "report/report.h"

namespace edgecompress {

/// A part of the report as text, for pages and Markdown. No rows: there is nothing to say.
struct ReportTable {
  std::string title;
  bool folded = false;  ///< long or of little interest
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
};
ReportTable stages_section(const Report& report);
ReportTable gates_section(const Report& report);
ReportTable artifact_section(const Report& report);
ReportTable speed_section(const Report& report);
ReportTable evaluation_section(const Report& report);
ReportTable tensors_section(const Report& report);
ReportTable warnings_section(const Report& report);
ReportTable fallbacks_section(const Report& report);
ReportTable files_section(const Report& report);
ReportTable origin_section(const Report& report);

/// One number that stands at the top.
struct ReportFact {
  std::string name;
  std::string value;
  std::string note;
};
std::vector<ReportFact> headline_facts(const Report& report);

/// The command that makes this report again.
std::string reproduce_command(const Report& report);

}  // namespace edgecompress
