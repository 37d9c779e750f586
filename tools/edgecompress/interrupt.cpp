#include "edgecompress/interrupt.h"

#include <csignal>
#include <initializer_list>

#include <unistd.h>

namespace edgecompress::cli {
namespace {

constexpr int kExitIo = 74;  // exit_code(ErrorKind::Io), which a signal handler may not call

volatile std::sig_atomic_t arrived = 0;

void note(int signal) {
  if (arrived != 0) ::_exit(128 + signal);
  arrived = signal;
  constexpr char kText[] = "\nstopping after the current step; press Ctrl-C again to stop now\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
}

/// A page of a mapped file that is no longer there, because the file was made shorter. There is
/// nothing to go back to: what was published stays as it was, finished blocks can be gone on with.
void end_on_lost_page(int) {
  constexpr char kText[] =
      "error[S38]: an input file was made shorter while it was read, or its disk failed; nothing "
      "was published\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
  ::_exit(kExitIo);
}

}  // namespace

void watch_lost_pages() { std::signal(SIGBUS, end_on_lost_page); }

void watch_signals() {
  watch_lost_pages();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, note);
}

void stop_if_interrupted() {
  if (arrived != 0) throw Interrupted{arrived};
}

bool take_interrupt() {
  const bool taken = arrived != 0;
  arrived = 0;
  return taken;
}

}  // namespace edgecompress::cli
