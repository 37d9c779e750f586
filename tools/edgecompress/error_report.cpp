#include "edgecompress/error_report.h"

#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <ostream>
#include <system_error>

#include <unistd.h>

#include "edgecompress/github_actions.h"

namespace edgecompress::cli {

namespace {

// LibTorch's allocator throws an error of its own, known by its text alone.
constexpr const char* kTorchOutOfMemory = "DefaultCPUAllocator: ";

int report_no_memory(std::ostream& err) {
  err << "error[M-ALLOC]: out of memory; no unfinished output was published" << std::endl;
  return exit_code(ErrorKind::Memory);
}

}  // namespace

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::Usage:
      return 2;
    case ErrorKind::Malformed:
      return 65;
    case ErrorKind::Missing:
      return 66;
    case ErrorKind::Unsupported:
      return 69;
    case ErrorKind::Memory:
      return 71;
    case ErrorKind::Output:
      return 73;
    case ErrorKind::Io:
      return 74;
    case ErrorKind::Conflict:
      return 75;
    case ErrorKind::Numeric:
      return 76;
  }
  return 70;
}

std::string printable(const std::string& text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string safe;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n') || byte == 0x7F) {
      safe += "\\x";
      safe += kDigits[byte >> 4];
      safe += kDigits[byte & 15];
    } else {
      safe += c;
    }
  }
  return safe;
}

int run_reporting_errors(const std::function<int()>& body, std::ostream& err) {
  try {
    return body();
  } catch (const Error& error) {
    const std::string text = error.what();
    // a recipe's problems come with their own heads, one by one
    const std::string shown = text.starts_with("error[")
                                  ? printable(text)
                                  : concat("error[", error.code(), "]: ", printable(text));
    err << shown << std::endl;
    annotate_errors(shown, err);
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    return report_no_memory(err);
  } catch (const std::system_error& error) {
    err << "error[F-SYSTEM]: the operating system refused what is needed: "
        << printable(error.what()) << "; no unfinished output was published" << std::endl;
    return exit_code(ErrorKind::Io);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    if (text.find(kTorchOutOfMemory) != std::string::npos) return report_no_memory(err);
    err << "error[BUG]: this is a defect of edgecompress, please report it with the command line: "
        << printable(text.substr(0, text.find("\nException raised from"))) << std::endl;
    return 70;
  }
}

void report_uncaught_errors() {
  std::set_terminate([] {
    const std::exception_ptr thrown = std::current_exception();
    if (!thrown) {  // it left a function that must not throw, of a library
      std::cerr << "error[BUG]: stopped where no error can be told, as happens in libraries when "
                   "memory runs out; no unfinished output was published"
                << std::endl;
      std::abort();
    }
    ::_exit(run_reporting_errors([&]() -> int { std::rethrow_exception(thrown); }, std::cerr));
  });
}

}  // namespace edgecompress::cli
