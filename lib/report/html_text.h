#pragma once

#include <string>
#include <string_view>

namespace edgecompress {

/// Text safe between tags and in quoted attributes: & < > " ' become entities; control characters
/// and those that turn the direction of writing are shown as escapes, "\u202e".
std::string html_escaped(std::string_view text);

/// Text safe in a cell of a Markdown table: one line, characters that mean something escaped.
std::string markdown_escaped(std::string_view text);

}  // namespace edgecompress
