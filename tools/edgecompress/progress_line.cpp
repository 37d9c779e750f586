#include "edgecompress/progress_line.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <ostream>

#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"

namespace edgecompress::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuietAtFirst = 2s;
constexpr const char* kClearLine = "\r\x1b[K";
constexpr auto kTerminalInterval = 100ms;
constexpr auto kPlainInterval = 10s;

/// How long a step takes or how many are done in a second, and how long it will go on; from `steps`
/// that took `seconds`.
std::string pace(double seconds, std::int64_t steps, const ProgressEvent& event) {
  if (steps <= 0 || event.done >= event.total) return "";
  const double step = seconds / static_cast<double>(steps);
  const long left = static_cast<long>(step * static_cast<double>(event.total - event.done)) + 1;
  std::array<char, 32> rate{};
  if (step >= 1) {
    std::snprintf(rate.data(), rate.size(), ", %.3g s each", step);
  } else if (step > 1e-4) {  // bytes of a file say more by the time that is left
    std::snprintf(rate.data(), rate.size(), ", %.3g a second", 1 / step);
  }
  return concat(rate.data(), ", about ", left, " s left");
}

/// Columns of the terminal that stderr is.
std::size_t terminal_width() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

/// Of this process now.
std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t all_pages = 0;
  std::int64_t resident_pages = 0;
  statm >> all_pages >> resident_pages;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

ProgressLine::ProgressLine(std::ostream& out, Style style)
    : out_(out), style_(style), start_(Clock::now()), last_shown_(start_), stage_start_(start_) {}

ProgressLine::~ProgressLine() { clear(); }

void ProgressLine::clear() {
  if (style_ == Style::Terminal) out_ << kClearLine << std::flush;
}

void ProgressLine::show_start(std::ostream& out, Style style) {
  if (style == Style::Terminal) out << kClearLine << "loading the engine\r" << std::flush;
}

ProgressLine::Style ProgressLine::style_of(const std::string& name, bool is_terminal) {
  if (name == "tty") return Style::Terminal;
  if (name == "plain") return Style::Plain;
  if (name == "json") return Style::Json;
  if (name == "none") return Style::None;
  const char* const terminal = std::getenv("TERM");
  const bool dumb = terminal != nullptr && std::string(terminal) == "dumb";
  return is_terminal && !dumb ? Style::Terminal : Style::Plain;
}

bool ProgressLine::is_due(bool new_stage) const {
  const Clock::time_point now = Clock::now();
  switch (style_) {
    case Style::Terminal:
    case Style::Json:
      return new_stage || now - last_shown_ >= kTerminalInterval;
    case Style::Plain:
      return now - start_ >= kQuietAtFirst && (new_stage || now - last_shown_ >= kPlainInterval);
    case Style::Every:
      return true;
    case Style::None:
      return false;
  }
  return false;
}

std::string ProgressLine::text_of(const ProgressEvent& event) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - stage_start_).count();
  return concat(event.stage, " ", event.done, "/", event.total, event.note.empty() ? "" : ", ",
                event.note, pace(seconds, event.done - stage_begin_, event), ", ",
                resident_bytes() >> 20, " MiB");
}

std::string ProgressLine::json_of(const ProgressEvent& event) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  nlohmann::ordered_json line{{"event", "progress"}, {"stage", event.stage},
                              {"done", event.done},  {"total", event.total},
                              {"seconds", seconds},  {"rss_bytes", resident_bytes()}};
  if (!event.note.empty()) line["note"] = event.note;
  return line.dump();
}

void ProgressLine::show(const ProgressEvent& event) {
  const bool new_stage = event.stage != stage_;
  if (new_stage) {
    stage_ = event.stage;
    stage_begin_ = event.done;
    stage_start_ = Clock::now();
  }
  const bool last = event.done == event.total && style_ == Style::Json;
  if (!last && !is_due(new_stage)) return;
  last_shown_ = Clock::now();
  if (style_ == Style::Terminal) {
    // A line that breaks could not be cleared.
    out_ << kClearLine << text_of(event).substr(0, terminal_width() - 1) << std::flush;
  } else {
    out_ << (style_ == Style::Json ? json_of(event) : text_of(event)) << std::endl;
  }
}

}  // namespace edgecompress::cli
