#pragma once

#include <functional>
#include <iosfwd>

#include "base/error.h"

namespace edgecompress::cli {

/// The exit code of docs/cli.md for a kind of error.
int exit_code(ErrorKind kind);

/// Runs `body`, which returns an exit code. Whatever it throws is printed to `err` in one form and
/// mapped to its code; what is not an Error is reported as a bug (70), std::bad_alloc as out of
/// memory (71).
int run_reporting_errors(const std::function<int()>& body, std::ostream& err);

/// `text` without control characters and escape sequences, which file contents could smuggle to the
/// terminal.
std::string printable(const std::string& text);

}  // namespace edgecompress::cli
