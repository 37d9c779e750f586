#include "recipe/problems.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "recipe/utf8.h"

namespace edgecompress {
namespace {

constexpr std::size_t kShownProblems = 20;
constexpr std::size_t kKeptProblems = 1000;  // of a hostile file; more only cost memory
constexpr std::size_t kExcerptWidth = 100;   // characters of a long line that are shown

std::size_t num_characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// Byte offset of the character with this index, or the end.
std::size_t byte_of_character(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if ((text[at] & 0xC0) != 0x80 && index-- == 0) break;
  }
  return at;
}

std::string spaces(std::size_t count) { return std::string(count, ' '); }

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_character_length(text);
    const bool control =
        length == 1 && (static_cast<unsigned char>(text[0]) < 0x20 || text[0] == 0x7F);
    if (length == 0 || control) {
      out += text[0] == '\t' ? ' ' : '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string backquoted(std::string_view text) {
  constexpr std::size_t kLimit = 60;
  const std::string shown = printable(text.substr(0, kLimit));
  return concat("`", shown, text.size() > kLimit ? "..." : "", "`");
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

void Problems::add_source(std::string name, std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = text.substr(start, end - start);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    start = end + 1;
  }
  sources_.push_back({std::move(name), std::move(lines)});
}

void Problems::add(Problem problem) {
  ++num_problems_;
  if (problems_.size() < kKeptProblems) problems_.push_back(std::move(problem));
}

SourceSpan Problems::span(std::size_t line, std::size_t byte_column, std::size_t length) const {
  const std::vector<std::string_view>& lines = sources_.back().lines;
  line = std::min(line, lines.size() - 1);
  const std::string_view before = lines[line].substr(0, byte_column);
  return {.source = sources_.size() - 1,
          .line = line + 1,
          .column = num_characters(before) + 1,
          .length = std::max<std::size_t>(length, 1)};
}

std::string Problems::excerpt(const Problem& problem) const {
  const std::vector<std::string_view>& lines = sources_[problem.at.source].lines;
  const std::size_t index = problem.at.line - 1;
  const std::string number = std::to_string(problem.at.line);
  const std::string gutter = spaces(number.size());
  const std::size_t column = problem.at.column - 1;
  const std::size_t skipped = column < kExcerptWidth - 20 ? 0 : column - kExcerptWidth / 2;
  const auto shown = [&](std::string_view line) {
    line.remove_prefix(byte_of_character(line, skipped));
    return printable(line.substr(0, byte_of_character(line, kExcerptWidth)));
  };
  std::string out = gutter + " |";
  if (index > 0 && !lines[index - 1].empty()) {
    const std::string before = std::to_string(index);
    out += "\n" + spaces(number.size() - before.size()) + before + " | " + shown(lines[index - 1]);
  }
  const std::string line = shown(lines[index]);
  out += "\n" + number + " | " + line;
  const std::size_t room = num_characters(line) - std::min(num_characters(line), column - skipped);
  const std::size_t carets =
      std::clamp<std::size_t>(problem.at.length, 1, std::max<std::size_t>(room, 1));
  out += "\n" + gutter + " | " + spaces(column - skipped) + std::string(carets, '^');
  if (!problem.hint.empty()) out += " " + problem.hint;
  for (const std::string& note : problem.notes) out += concat("\n", gutter, " = ", note);
  return out;
}

std::string Problems::describe(const Problem& problem) const {
  const std::string& name = sources_[problem.at.source].name;
  if (name.empty()) {  // a recipe made in memory
    std::string out = problem.message;
    for (const std::string& note : problem.notes) out += "\n = " + note;
    return out;
  }
  const std::string number = std::to_string(problem.at.line);
  return concat(problem.message, "\n", spaces(number.size()), "--> ", name, ":", number, ":",
                problem.at.column, "\n", excerpt(problem));
}

void Problems::fail() const {
  std::vector<Problem> sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.at.source, a.at.line, a.at.column) <
           std::tie(b.at.source, b.at.line, b.at.column);
  });
  std::string text;
  for (std::size_t i = 0; i < std::min(sorted.size(), kShownProblems); ++i) {
    if (i > 0) text += concat("\nerror[", sorted[i].code, "]: ");
    text += describe(sorted[i]);
  }
  if (num_problems_ > kShownProblems) {
    text += concat("\n", num_problems_, " errors, the first ", kShownProblems, " are shown");
  } else if (num_problems_ > 1) {
    text += concat("\n", num_problems_, " errors");
  }
  throw Error(ErrorKind::Usage, sorted.front().code, text);
}

}  // namespace edgecompress
