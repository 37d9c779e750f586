#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "tokenizer/split_pattern.h"

namespace edgecompress::tokenizer_internal {

/// When Metaspace puts its replacement in front of a piece.
enum class PrependScheme { Always, First, Never };

/// Reads "prepend_scheme" and the older "add_prefix_space" of a Metaspace; `role` is named in
/// errors.
PrependScheme read_prepend_scheme(const nlohmann::ordered_json& part, const char* role);

/// Reads the one character a Metaspace uses for a space.
std::string read_metaspace_character(const nlohmann::ordered_json& part, const char* role);

/// Cuts normalized text into the words that the model encodes each on its own:
/// Split (by a regular expression, Isolated), ByteLevel, Metaspace, and Sequences of them.
class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view word)>;

  /// Throws Error{Unsupported, "T14"} by name, Error{Malformed} T13, T14.
  explicit PreTokenizer(const nlohmann::ordered_json& part);

  /// at_start: whether `text` is where the whole input begins (for Metaspace's scheme "first").
  void apply(std::string_view text, bool at_start, const Sink& sink) const {
    run(0, text, at_start, sink);
  }

 private:
  struct PrefixSpace {};  // ByteLevel's first step, where asked for
  struct MapBytes {};     // and its last
  struct Metaspace {
    std::string character;
    PrependScheme scheme;
    bool split;
  };
  void add_step(const nlohmann::ordered_json& part, const std::string& type);
  void run(std::size_t step, std::string_view piece, bool at_start, const Sink& sink) const;
  void run_split(const SplitPattern& split, std::size_t step, std::string_view piece, bool at_start,
                 const Sink& sink) const;
  void run_metaspace(const Metaspace& metaspace, std::size_t step, std::string_view piece,
                     bool at_start, const Sink& sink) const;

  std::vector<std::variant<SplitPattern, PrefixSpace, MapBytes, Metaspace>> steps_;
};

}  // namespace edgecompress::tokenizer_internal
