#include "base/error.h"
#include "report/html_report.h"
#include "report/html_text.h"
#include "report/report_sections.h"

namespace edgecompress {
namespace {

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const std::string& cell : cells) out += " " + markdown_escaped(cell) + " |";
  return out + "\n";
}

std::string markdown_section(const ReportTable& table) {
  if (table.rows.empty()) return {};
  std::string out = concat("\n## ", table.title, "\n\n", markdown_row(table.head), "|");
  for (std::size_t i = 0; i < table.head.size(); ++i) out += " --- |";
  out += "\n";
  for (const auto& row : table.rows) out += markdown_row(row);
  return out;
}

}  // namespace

std::string markdown_report(const Report& report) {
  std::string out =
      concat("# ", markdown_escaped(report.model_name), ", compressed\n\nedgecompress ",
             markdown_escaped(report.tool_version), " ", markdown_escaped(report.command), "\n\n");
  for (const ReportFact& fact : headline_facts(report)) {
    out += concat("- **", fact.name, "** ", markdown_escaped(fact.value), ", ",
                  markdown_escaped(fact.note), "\n");
  }
  for (const ReportTable& table :
       {gates_section(report), stages_section(report), artifact_section(report),
        speed_section(report), warnings_section(report), fallbacks_section(report),
        evaluation_section(report)}) {
    out += markdown_section(table);
  }
  return out;
}

}  // namespace edgecompress
