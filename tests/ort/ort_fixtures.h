#pragma once

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "ort/session.h"

namespace edgecompress {

inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(EDGECOMPRESS_ORT_FIXTURES) / name;
}

inline std::string fixture_bytes(const std::string& name) {
  std::ifstream in(fixture(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The bytes with every occurrence of a name replaced by one of equal length, so that the file's
/// lengths stay true.
inline std::string renamed(std::string bytes, const std::string& from, const std::string& to) {
  for (std::size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at)) {
    bytes.replace(at, from.size(), to);
  }
  return bytes;
}

/// Runs `body`, which must throw an Error, and returns it.
template <typename Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  throw std::logic_error("no Error was thrown");
}

/// Empty when the error's text holds all of `words`; else the first word it lacks, and the text.
inline std::string words_missing_in(const Error& error, std::initializer_list<std::string> words) {
  const std::string text = error.what();
  for (const std::string& word : words) {
    if (text.find(word) == std::string::npos) return "no \"" + word + "\" in: " + text;
  }
  return "";
}

/// One environment for the whole test program, as a user's process has.
inline const OnnxRuntime& runtime() {
  static const OnnxRuntime loaded{find_onnxruntime({})};
  return loaded;
}

}  // namespace edgecompress
