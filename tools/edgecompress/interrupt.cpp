#include "edgecompress/interrupt.h"

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include <fcntl.h>
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

/// Text in a buffer: nothing here may allocate, because a signal handler uses it.
class SignalText {
 public:
  void add(const char* text) {
    while (*text != 0) add(*text++);
  }
  void add(char c) {
    if (size_ < text_.size()) text_[size_++] = c;
  }
  void add_number(std::uint64_t number) {
    std::array<char, 20> digits{};
    std::size_t count = 0;
    do {
      digits[count++] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0);
    while (count > 0) add(digits[--count]);
  }
  void print() const {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text_.data(), size_);
  }

 private:
  std::array<char, 8192> text_{};
  std::size_t size_ = 0;
};

/// A line of /proc/self/maps: "begin-end access offset device inode path", numbers in base 16.
struct MappedRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
  const char* path = "";
};

std::uint64_t take_number(const char*& text) {
  std::uint64_t number = 0;
  for (;; ++text) {
    if (*text >= '0' && *text <= '9') {
      number = number * 16 + static_cast<std::uint64_t>(*text - '0');
    } else if (*text >= 'a' && *text <= 'f') {
      number = number * 16 + static_cast<std::uint64_t>(*text - 'a' + 10);
    } else {
      return number;
    }
  }
}

void skip_field(const char*& text) {
  while (*text != 0 && *text != ' ') ++text;
  while (*text == ' ') ++text;
}

MappedRange parse_range(const char* line) {
  MappedRange range;
  range.begin = take_number(line);
  if (*line == '-') ++line;
  range.end = take_number(line);
  skip_field(line);
  skip_field(line);  // access
  range.offset = take_number(line);
  skip_field(line);
  skip_field(line);  // device
  skip_field(line);  // inode
  range.path = line;
  return range;
}

/// Says which file's page lies at that address, where the system tells it.
void add_place(SignalText& text, std::uint64_t address) {
  const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  std::array<char, 4352> line{};  // a path has at most 4096 bytes
  std::size_t length = 0;
  char c = 0;
  while (maps >= 0 && ::read(maps, &c, 1) == 1) {
    if (c != '\n') {
      if (length + 1 < line.size()) line[length++] = c;
      continue;
    }
    line[length] = 0;
    length = 0;
    const MappedRange range = parse_range(line.data());
    if (address < range.begin || address >= range.end || *range.path != '/') continue;
    text.add(range.path);
    text.add(" at byte ");
    text.add_number(range.offset + (address - range.begin));
    return;
  }
  text.add("an input file");
}

/// A page of a mapped file that is no longer there, because the file was made shorter, or that its
/// disk does not give. There is nothing to go back to: what was published stays as it was, finished
/// blocks can be gone on with.
void end_on_lost_page(int, siginfo_t* info, void*) {
  SignalText text;
  text.add("error[S38]: cannot read ");
  add_place(text, reinterpret_cast<std::uintptr_t>(info->si_addr));
  text.add(
      ": the file was made shorter while it was read, or its disk failed; nothing was published\n");
  text.print();
  ::_exit(kExitIo);
}

}  // namespace

void occupy_closed_streams() {
  int descriptor = 0;
  do {
    descriptor = ::open("/dev/null", O_RDONLY);  // kept by the engine too
  } while (descriptor >= 0 && descriptor <= STDERR_FILENO);
  if (descriptor >= 0) ::close(descriptor);
}

void watch_lost_pages() {
  struct sigaction action{};
  action.sa_sigaction = end_on_lost_page;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

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
