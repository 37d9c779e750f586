#pragma once

#include <functional>
#include <iosfwd>

#include "base/error.h"

namespace edgecompress::cli {

/// The exit code of docs/cli.md for a kind of error.
int exit_code(ErrorKind kind);

/// Runs `body`, which returns an exit code. Whatever it throws is printed to `err` in one form and
/// mapped to its code: std::bad_alloc as out of memory (71), what the operating system refuses
/// (std::system_error) as F-SYSTEM (74), what else is not an Error as a bug (70).
int run_reporting_errors(const std::function<int()>& body, std::ostream& err);

/// An exception where none may leave, as when memory runs out in a destructor, then ends the
/// process with run_reporting_errors()'s message and exit code instead of an abort.
void report_uncaught_errors();

/// `text` without control characters and escape sequences, which file contents could smuggle to the
/// terminal.
std::string printable(const std::string& text);

}  // namespace edgecompress::cli
