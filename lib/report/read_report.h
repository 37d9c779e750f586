#pragma once

#include <string>
#include <string_view>

#include "report/report.h"

namespace edgecompress {

/// Reads what report_json() writes; keys of a later version 1 are ignored.
/// source: named in errors. Throws Error{Malformed} J-REPORT naming the key that is missing or of a
/// wrong type, and J-JSON as parse_strict_json.
Report read_report(std::string_view text, const std::string& source);

}  // namespace edgecompress
