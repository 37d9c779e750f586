#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>

#include "base/progress.h"

namespace edgecompress::cli {

/// Shows progress on a stream: a living line on a terminal, at once; a plain line per stage and
/// every ten seconds once work has taken two seconds; or at once, a plain line (Every) or a JSON
/// object per step.
class ProgressLine {
 public:
  enum class Style { Terminal, Plain, Every, Json, None };

  /// "auto", "tty", "plain", "json" or "none"; auto is a living line on a terminal that is not
  /// TERM=dumb, else plain.
  static Style style_of(const std::string& name, bool is_terminal);

  ProgressLine(std::ostream& out, Style style);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(const ProgressEvent& event);

  /// Takes the living line away, before something else is printed.
  void clear();

  /// On a terminal a line that stands until the engine shows its first step, for the engine takes a
  /// moment to load. Nothing in other styles.
  static void show_start(std::ostream& out, Style style);

 private:
  bool is_due(bool new_stage) const;
  std::string text_of(const ProgressEvent& event) const;
  std::string json_of(const ProgressEvent& event) const;

  using Clock = std::chrono::steady_clock;

  std::ostream& out_;
  Style style_;
  Clock::time_point start_;
  Clock::time_point last_shown_;
  Clock::time_point stage_start_;
  std::string stage_;
  std::int64_t stage_begin_ = 0;  ///< steps that were done when the stage was first shown
};

}  // namespace edgecompress::cli
