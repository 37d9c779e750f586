#include "edgecompress/program.h"

#include <iostream>

#include "edgecompress/command_line.h"
#include "edgecompress/error_report.h"

namespace edgecompress::cli {

int run_program(int argc, char** argv, const ProgramBody& body) {
  report_uncaught_errors();
  RunLog log;
  const int code =
      run_reporting_errors([&] { return body(arguments_of(argc, argv), log); }, std::cerr);
  log.finish(code);
  if (!std::cout.flush() && code == 0) {
    std::cerr << "error[F-WRITE]: cannot write to standard output" << std::endl;
    return exit_code(ErrorKind::Io);
  }
  return code;
}

}  // namespace edgecompress::cli
