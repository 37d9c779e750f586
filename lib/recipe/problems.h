#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace edgecompress {

/// A place in a recipe file. Lines and columns count from 1, columns and length in characters.
struct SourceSpan {
  std::size_t source = 0;  ///< index of the file, in the order of Problems::add_source
  std::size_t line = 1;
  std::size_t column = 1;
  std::size_t length = 1;
};

/// One thing that is wrong with a recipe.
struct Problem {
  std::string code;     ///< R1 .. R23, docs/recipe-format.md
  std::string message;  ///< what was found
  SourceSpan at;
  std::string hint;                ///< short, shown beside the caret
  std::vector<std::string> notes;  ///< whole lines below the excerpt
};

/// What is wrong with one recipe, collected so that one run shows it all.
class Problems {
 public:
  /// Adds a file, which span() then refers to. text must outlive this object. name: empty for a
  /// recipe that was not read from one, whose problems have no place.
  void add_source(std::string name, std::string_view text);

  void add(Problem problem);
  bool empty() const { return problems_.empty(); }

  /// The place of a byte offset of a line of the last source; both count from 0.
  SourceSpan span(std::size_t line, std::size_t byte_column, std::size_t length) const;

  /// One problem with its place, the line and a caret, without a line break at the end.
  std::string describe(const Problem& problem) const;

  /// Throws Error{Usage} with the code of the first problem in file order and all texts, at most 20
  /// of them. The first text lacks its "error[...]: ", which whoever prints an Error puts in front.
  [[noreturn]] void fail() const;
  void fail_if_any() const {
    if (!empty()) fail();
  }

 private:
  std::string excerpt(const Problem& problem) const;

  struct Source {
    std::string name;
    std::vector<std::string_view> lines;
  };
  std::vector<Source> sources_;
  std::vector<Problem> problems_;
  std::size_t num_problems_ = 0;
};

/// Text from a file made safe to print: control characters and invalid UTF-8 become '?'.
std::string printable(std::string_view text);

/// The same in backquotes, cut to 60 bytes.
std::string backquoted(std::string_view text);

/// "a, b, c"
std::string joined(const std::vector<std::string>& words);

}  // namespace edgecompress
