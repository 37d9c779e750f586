#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/progress.h"

namespace edgecompress::cli {

/// A file that keeps what a run says: everything that goes to stderr but the progress, every step
/// with the time it was done, and how it ended. Written through at every line, so that it is there
/// after a kill.
class RunLog {
 public:
  RunLog();
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// From now on stderr goes to the file too; behind what it holds already.
  /// Throws Error{Output} O-CREATE.
  void open(const std::filesystem::path& file);
  bool is_open() const { return file_.is_open(); }

  // Nothing happens below unless open() was called.

  /// A line of what is run, when, and by which process.
  void begin(const std::vector<std::string>& arguments);
  void show(const ProgressEvent& event);
  void note(const std::string& text);
  void finish(int exit_code);

  /// The terminal alone, for progress.
  std::ostream& screen() { return screen_; }

 private:
  double seconds() const;

  std::streambuf* terminal_;  // of std::cerr
  std::ostream screen_;
  std::ofstream file_;
  std::unique_ptr<std::streambuf> both_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace edgecompress::cli
