#include "checkpoint/header_scan.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/file_kind.h"

namespace edgecompress {
namespace {

constexpr std::size_t kDeepest = 4;
constexpr std::size_t kLongestRawString =
    std::size_t{8} << 20;  // 1 MiB of metadata, each byte as \u00xx, and slack

[[noreturn]] void fail(const std::string& code, const std::string& source,
                       const std::string& message) {
  throw Error(ErrorKind::Malformed, code, concat(source, ": ", message));
}

/// Bytes of the valid UTF-8 sequence at the start of `text`, which is not ASCII; 0 when there is
/// none. Source: RFC 3629, section 4.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned lead = byte(0);
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = lead == 0xED && byte(1) >= 0xA0;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && byte(1) < 0x90;
    const bool beyond = lead == 0xF4 && byte(1) >= 0x90;
    return tail(1) && tail(2) && tail(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

void check_start(std::string_view header, const std::string& source) {
  if (header.starts_with("\xEF\xBB\xBF")) {
    fail("S9", source, "the header starts with a byte order mark; expected '{'");
  }
  const char first = header.front();
  if (first == '{') return;
  if (std::string_view(" \t\r\n").find(first) != std::string_view::npos) {
    fail("S10", source, "the header starts with a blank; expected '{'");
  }
  if (std::string_view("[\"ntf-0123456789").find(first) != std::string_view::npos) {
    fail("S8", source,
         concat("the header must be a JSON object, found \"", shown_text(header.substr(0, 20)),
                "\""));
  }
  fail("S7", source,
       concat("the header is not JSON: it starts with \"", shown_text(header.substr(0, 20)), "\""));
}

class Scanner {
 public:
  Scanner(std::string_view header, const std::string& source)
      : header_(header),
        source_(source),
        most_objects_(kMostTensors + 1 +
                      (header.find("\"__metadata__\"") == std::string_view::npos ? 0 : 1)) {}

  HeaderScan run() {
    for (std::size_t i = 0; i < header_.size(); ++i) {
      i = header_[i] == '"' ? string_end(i) : outside_string(i);
    }
    return counts_;
  }

 private:
  std::size_t outside_string(std::size_t i) {
    const char c = header_[i];
    if (c == '{' || c == '[') {
      if (++depth_ > kDeepest) fail("S33", source_, "the header is nested deeper than 4");
      if (c == '{' && ++counts_.objects > most_objects_) refuse_many_tensors(source_);
    } else if ((c == '}' || c == ']') && depth_ > 0) {
      --depth_;
    } else if (c == '\0') {  // nlohmann would take it as the end of the text
      fail("S7", source_, concat("the header is not JSON: NUL at its byte ", i));
    }
    return i;
  }

  /// Returns the index of the closing quote, or of the last byte.
  std::size_t string_end(std::size_t open) {
    std::size_t i = open + 1;
    while (i < header_.size() && header_[i] != '"') i += header_[i] == '\\' ? 2 : 1;
    i = std::min(i, header_.size() - 1);
    counts_.string_bytes += i - open;
    if (i - open > kLongestRawString) {
      fail("S31", source_, concat("a name or text in the header has ", i - open, " bytes"));
    }
    return i;
  }

  std::string_view header_;
  const std::string& source_;
  std::size_t most_objects_;  // the header itself, its metadata, and the tensors
  HeaderScan counts_;
  std::size_t depth_ = 0;
};

}  // namespace

void refuse_many_tensors(const std::string& source) {
  fail("S33", source, "the header names more than 1,000,000 tensors");
}

HeaderScan scan_safetensors_header(std::string_view header, const std::string& source) {
  for (std::size_t i = 0; i < header.size();) {
    if (static_cast<unsigned char>(header[i]) < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = utf8_length(header.substr(i));
    if (length == 0) fail("S6", source, concat("the header is not UTF-8 at its byte ", i));
    i += length;
  }
  check_start(header, source);
  return Scanner(header, source).run();
}

}  // namespace edgecompress
