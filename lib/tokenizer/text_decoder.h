#pragma once

#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

namespace edgecompress::tokenizer_internal {

/// Turns the texts of tokens into text: Replace, ByteFallback, Fuse, Strip, ByteLevel, Metaspace
/// and Sequences of them; without any, tokens are joined by spaces.
class TextDecoder {
 public:
  /// Throws Error{Unsupported, "T14"} by name, Error{Malformed, "T14"}.
  explicit TextDecoder(const nlohmann::ordered_json& part);

  std::string decode(std::vector<std::string> tokens) const;

 private:
  struct ByteFallback {};
  struct Fuse {};
  struct ByteLevel {};
  struct Strip {
    std::string character;
    std::int64_t start;  // at most so many are taken off
    std::int64_t stop;
  };
  struct Metaspace {
    std::string character;
    PrependScheme scheme;
  };
  void add_step(const nlohmann::ordered_json& part, const std::string& type);

  static void run(const ByteFallback&, std::vector<std::string>& tokens);
  static void run(const Fuse&, std::vector<std::string>& tokens);
  static void run(const ByteLevel&, std::vector<std::string>& tokens);
  static void run(const Strip& strip, std::vector<std::string>& tokens);
  static void run(const Metaspace& metaspace, std::vector<std::string>& tokens);
  static void run(const Replacement& replacement, std::vector<std::string>& tokens);

  std::vector<std::variant<ByteFallback, Fuse, ByteLevel, Strip, Metaspace, Replacement>> steps_;
};

}  // namespace edgecompress::tokenizer_internal
