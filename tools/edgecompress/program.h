#pragma once

#include <functional>
#include <string>
#include <vector>

#include "edgecompress/run_log.h"

namespace edgecompress::cli {

/// What a program does with the arguments behind its name; returns its exit code.
using ProgramBody = std::function<int(const std::vector<std::string>& arguments, RunLog& log)>;

/// A whole main: runs `body`, reports what it throws on stderr, ends the log, and fails with
/// F-WRITE when standard output did not take everything. Returns the exit code.
int run_program(int argc, char** argv, const ProgramBody& body);

}  // namespace edgecompress::cli
