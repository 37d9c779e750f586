#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/error.h"

namespace edgecompress {

struct Refusal {
  std::string code;
  ErrorKind kind;
  std::string message;

  bool says(const std::string& words) const { return message.find(words) != std::string::npos; }
};

/// The Error that `body` throws, or nothing.
inline std::optional<Refusal> refusal_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return Refusal{error.code(), error.kind(), error.what()};
  }
  return std::nullopt;
}

}  // namespace edgecompress
