#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace edgecompress {

/// Who has to act, and on what. Each kind has one exit code (docs/cli.md).
enum class ErrorKind {
  Usage,        ///< a flag or a recipe that cannot be what was meant
  Malformed,    ///< an input file breaks its own format's rules
  Missing,      ///< an input is absent or unreadable
  Unsupported,  ///< valid, but not something edgecompress does
  Memory,       ///< the memory budget cannot be met
  Output,       ///< the output cannot be created
  Io,           ///< reading or writing failed, disk full included
  Conflict,     ///< another run holds the output, or a checkpoint does not match
  Numeric,      ///< a value that must be finite or invertible is not
};

/// A failure that the person running the tool can act on.
/// Any other exception that reaches main() is a bug in edgecompress.
class Error : public std::runtime_error {
 public:
  /// code: stable and documented (docs/cli.md), for example "S21"; printed as error[S21].
  Error(ErrorKind kind, std::string code, const std::string& message)
      : std::runtime_error(message), kind_(kind), code_(std::move(code)), text_(message) {}

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& code() const noexcept { return code_; }
  const char* what() const noexcept override { return text_.c_str(); }

  /// Adds one line saying what was being done; call innermost first.
  void add_context(const std::string& doing) { text_ += "\n  while " + doing; }

 private:
  ErrorKind kind_;
  std::string code_;
  std::string text_;
};

/// Joins values as operator<< prints them.
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);  // else a text that memory was missing for ends early
  (out << ... << parts);
  return std::move(out).str();
}

/// Runs `body`. An Error that leaves it gains the line "while <doing>".
template <typename Body>
decltype(auto) with_context(const std::string& doing, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (Error& error) {
    error.add_context(doing);
    throw;
  }
}

/// States something that only a bug in edgecompress can make false.
inline void ensure(bool holds, const char* claim, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE()) {
  if (!holds) {
    throw std::logic_error(concat(file, ":", line, ": bug in edgecompress: expected ", claim));
  }
}

}  // namespace edgecompress
