#include "edgecompress/progress_line.h"

#include <cstdlib>
#include <fstream>
#include <ostream>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"

namespace edgecompress::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuietAtFirst = 2s;
constexpr auto kTerminalInterval = 100ms;
constexpr auto kPlainInterval = 10s;

std::string remaining(std::chrono::steady_clock::duration spent, const ProgressEvent& event) {
  if (event.done <= 0 || event.done >= event.total) return "";
  const double seconds = std::chrono::duration<double>(spent).count();
  const double left =
      seconds / static_cast<double>(event.done) * static_cast<double>(event.total - event.done);
  return concat(", about ", static_cast<long>(left + 1), " s left");
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

ProgressLine::~ProgressLine() {
  if (line_open_) out_ << "\r\x1b[K" << std::flush;
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
      return now - start_ >= kQuietAtFirst && (new_stage || now - last_shown_ >= kTerminalInterval);
    case Style::Plain:
      return now - start_ >= kQuietAtFirst && (new_stage || now - last_shown_ >= kPlainInterval);
    case Style::Every:
      return true;
    case Style::Json:
      return new_stage || now - last_shown_ >= kTerminalInterval;
    case Style::None:
      return false;
  }
  return false;
}

std::string ProgressLine::text_of(const ProgressEvent& event) const {
  const auto spent = Clock::now() - stage_start_;
  return concat(event.stage, " ", event.done, "/", event.total, event.note.empty() ? "" : ", ",
                event.note, remaining(spent, event), ", ", resident_bytes() >> 20, " MiB");
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
    stage_start_ = Clock::now();
  }
  const bool last = event.done == event.total && style_ == Style::Json;
  if (!last && !is_due(new_stage)) return;
  last_shown_ = Clock::now();
  if (style_ == Style::Terminal) {
    out_ << "\r\x1b[K" << text_of(event) << std::flush;
    line_open_ = true;
  } else {
    out_ << (style_ == Style::Json ? json_of(event) : text_of(event)) << std::endl;
  }
}

}  // namespace edgecompress::cli
