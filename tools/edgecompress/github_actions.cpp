#include "edgecompress/github_actions.h"

#include <cstdlib>
#include <fstream>
#include <ostream>
#include <string_view>

#include "base/error.h"

namespace edgecompress::cli {
namespace {

constexpr int kShownAnnotations = 10;
constexpr std::size_t kLargestSummary = 900 * 1024;  // GitHub takes 1 MiB of a step

bool on_github() {
  const char* const value = std::getenv("GITHUB_ACTIONS");
  return value != nullptr && std::string_view(value) == "true";
}

/// Text as a workflow command takes it.
std::string command_text(std::string_view text, bool property) {
  std::string out;
  for (const char c : text) {
    if (c == '%') {
      out += "%25";
    } else if (c == '\n') {
      out += "%0A";
    } else if (c == '\r') {
      out += "%0D";
    } else if (property && c == ':') {
      out += "%3A";
    } else if (property && c == ',') {
      out += "%2C";
    } else {
      out += c;
    }
  }
  return out;
}

/// "file=a.ec.yaml,line=3,col=7" of a line " --> a.ec.yaml:3:7"; empty for another line.
std::string place_of(std::string_view line) {
  const std::size_t arrow = line.find("--> ");
  if (arrow == line.npos || line.find_first_not_of(' ') != arrow) return {};
  const std::string_view place = line.substr(arrow + 4);
  const std::size_t column = place.rfind(':');
  const std::size_t row =
      column == 0 || column == place.npos ? column : place.rfind(':', column - 1);
  if (row == place.npos || column == place.npos) return {};
  return concat("file=", command_text(place.substr(0, row), true),
                ",line=", place.substr(row + 1, column - row - 1),
                ",col=", place.substr(column + 1));
}

std::string_view line_at(std::string_view text, std::size_t at) {
  return text.substr(at, std::min(text.find('\n', at), text.size()) - at);
}

}  // namespace

void annotate_errors(const std::string& printed, std::ostream& out) {
  if (!on_github()) return;
  int shown = 0;
  const std::string text = "\n" + printed;
  for (std::size_t at = text.find("\nerror["); at != text.npos && shown < kShownAnnotations;
       at = text.find("\nerror[", at + 1), ++shown) {
    const std::string_view head = line_at(text, at + 1);
    const std::size_t next = at + 1 + head.size() + 1;
    const std::string place = next < text.size() ? place_of(line_at(text, next)) : "";
    out << "::error " << place << "::" << command_text(head, false) << std::endl;
  }
}

void annotate_gates(const std::vector<GateReport>& gates, std::ostream& out) {
  if (!on_github()) return;
  for (const GateReport& gate : gates) {
    if (gate.passed) continue;
    out << "::error title=gate failed::" << gate_name(gate.metric) << " is "
        << command_text(gate.value ? gate_number(gate.metric, *gate.value) : "not measured", false)
        << ", limit " << command_text(gate_number(gate.metric, gate.limit), false) << std::endl;
  }
}

void add_step_summary(const std::string& markdown) {
  const char* const path = std::getenv("GITHUB_STEP_SUMMARY");
  if (!on_github() || path == nullptr || *path == 0) return;
  std::ofstream(path, std::ios::app) << markdown.substr(0, kLargestSummary) << "\n";
}

}  // namespace edgecompress::cli
