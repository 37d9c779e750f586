#include "edgecompress/progress_line.h"

#include <ostream>

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

}  // namespace

ProgressLine::ProgressLine(std::ostream& out, Style style)
    : out_(out), style_(style), start_(Clock::now()), last_shown_(start_), stage_start_(start_) {}

ProgressLine::~ProgressLine() {
  if (line_open_) out_ << "\r\x1b[K" << std::flush;
}

void ProgressLine::show(const ProgressEvent& event) {
  const Clock::time_point now = Clock::now();
  const bool new_stage = event.stage != stage_;
  if (new_stage) {
    stage_ = event.stage;
    stage_start_ = now;
  }
  const auto interval = style_ == Style::Terminal ? Clock::duration(kTerminalInterval)
                                                  : Clock::duration(kPlainInterval);
  if (now - start_ < kQuietAtFirst || (!new_stage && now - last_shown_ < interval)) return;
  last_shown_ = now;
  const std::string text =
      concat(event.stage, " ", event.done, "/", event.total, event.note.empty() ? "" : ", ",
             event.note, remaining(now - stage_start_, event));
  if (style_ == Style::Terminal) {
    out_ << "\r\x1b[K" << text << std::flush;
    line_open_ = true;
  } else {
    out_ << text << std::endl;
  }
}

}  // namespace edgecompress::cli
