#include "edgecompress/interrupt.h"

#include <csignal>
#include <initializer_list>

#include <unistd.h>

namespace edgecompress::cli {
namespace {

volatile std::sig_atomic_t arrived = 0;

void note(int signal) {
  if (arrived != 0) ::_exit(128 + signal);
  arrived = signal;
  constexpr char kText[] = "\nstopping after the current step; press Ctrl-C again to stop now\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
}

}  // namespace

void watch_signals() {
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
