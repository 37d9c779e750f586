#include "edgecompress/run_log.h"

#include <cerrno>
#include <cstring>
#include <iostream>

#include <unistd.h>

#include "base/error.h"
#include "base/utc_time.h"
#include "base/version.h"
#include "edgecompress/build_facts.h"
#include "report/text_numbers.h"

namespace edgecompress::cli {
namespace {

/// Writes to two places; what the second does not take is lost there only.
class TwoPlaces : public std::streambuf {
 public:
  TwoPlaces(std::streambuf& first, std::streambuf& second) : first_(first), second_(second) {}

 protected:
  int_type overflow(int_type c) override {
    if (traits_type::eq_int_type(c, traits_type::eof())) return traits_type::not_eof(c);
    second_.sputc(traits_type::to_char_type(c));
    return first_.sputc(traits_type::to_char_type(c));
  }
  std::streamsize xsputn(const char* text, std::streamsize length) override {
    second_.sputn(text, length);
    return first_.sputn(text, length);
  }
  int sync() override {
    second_.pubsync();
    return first_.pubsync();
  }

 private:
  std::streambuf& first_;
  std::streambuf& second_;
};

}  // namespace

RunLog::RunLog()
    : terminal_(std::cerr.rdbuf()), screen_(terminal_), start_(std::chrono::steady_clock::now()) {}

RunLog::~RunLog() { std::cerr.rdbuf(terminal_); }

void RunLog::open(const std::filesystem::path& file) {
  file_.open(file, std::ios::app);
  if (!file_) {
    throw Error(ErrorKind::Output, "O-CREATE",
                concat("cannot write --log-file ", file.string(), ": ", std::strerror(errno)));
  }
  both_ = std::make_unique<TwoPlaces>(*terminal_, *file_.rdbuf());
  std::cerr.rdbuf(both_.get());
}

void RunLog::begin(const std::vector<std::string>& arguments) {
  if (!is_open()) return;
  file_ << utc_now() << " process " << ::getpid() << ", edgecompress " << kVersion << " ("
        << kBuildCommit << "):";
  for (const std::string& argument : arguments) file_ << " " << argument;
  file_ << std::endl;
}

void RunLog::show(const ProgressEvent& event) {
  if (!is_open()) return;
  note(concat(event.stage, " ", event.done, "/", event.total, event.note.empty() ? "" : ", ",
              event.note));
}

void RunLog::note(const std::string& text) {
  if (is_open()) file_ << formatted("%10.3f s  ", seconds()) << text << std::endl;
}

void RunLog::finish(int exit_code) { note(concat("ended with exit code ", exit_code)); }

double RunLog::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

}  // namespace edgecompress::cli
