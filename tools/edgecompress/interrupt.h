#pragma once

namespace edgecompress::cli {

/// Asks the run to stop at its next progress report when SIGINT, SIGTERM or SIGHUP arrives; a
/// second signal ends the process at once. SIGPIPE and SIGXFSZ are ignored: they show as errors of
/// write.
void watch_signals();

/// Puts something unwritable in the place of closed standard streams: else the first file that is
/// opened would take it, and get what is printed.
void occupy_closed_streams();

/// Ends the process with the exit code of Error{Io} when a mapped input file loses pages that are
/// read. watch_signals() does this too.
void watch_lost_pages();

/// Thrown by stop_if_interrupted; unwinding deletes what was not published.
struct Interrupted {
  int signal;
};

/// Throws Interrupted when a signal has arrived.
void stop_if_interrupted();

/// True once when a signal has arrived, and forgets it: for work that ends early by itself and
/// keeps what it has. The next signal stops the run at its next progress report.
bool take_interrupt();

}  // namespace edgecompress::cli
