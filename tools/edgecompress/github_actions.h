#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "report/gate.h"

namespace edgecompress::cli {

// What a job on GitHub Actions (GITHUB_ACTIONS=true) gets besides: annotations beside the lines of
// a recipe, and the report in the step's summary. Elsewhere these do nothing.

/// One annotation for each "error[CODE]: text" of an error as it was printed, with its place when
/// it has one; at most 10, which is what GitHub shows of a step.
void annotate_errors(const std::string& printed, std::ostream& out);

/// One annotation for each gate that failed.
void annotate_gates(const std::vector<GateReport>& gates, std::ostream& out);

/// Appends to the file that GITHUB_STEP_SUMMARY names, at most 900 KiB.
void add_step_summary(const std::string& markdown);

}  // namespace edgecompress::cli
