#pragma once

#include <string>

#include "report/report.h"

namespace edgecompress {

/// The report as one HTML page: no script, nothing from the network, light and dark, readable on a
/// phone and printed. Equal reports give equal bytes. Every text of the report is escaped.
std::string html_report(const Report& report);

/// The same tables as Markdown, for pull requests and step summaries.
std::string markdown_report(const Report& report);

}  // namespace edgecompress
