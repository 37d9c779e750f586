#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace edgecompress {

/// Refuses bytes that are plainly something else than the model file they were taken for.
///
/// source:  named in the error, usually a path.
/// Throws   Error{Malformed}: S34 for a Git LFS pointer; S35 for a web page, a zip archive, a
/// pickle or a GGUF file,
///          saying what was recognised and what to do. Returns when nothing was recognised.
void refuse_other_file_kinds(std::span<const std::byte> file, const std::string& source);

/// Refuses a file whose name says that its download has not finished. Throws Error{Malformed} S35.
void refuse_unfinished_download(const std::string& source);

/// Text from outside, fit for a terminal: control characters, quotes and backslashes escaped, cut
/// after 200 bytes.
std::string shown_text(std::string_view text);

}  // namespace edgecompress
