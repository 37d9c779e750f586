#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer_json.h"

namespace edgecompress::tokenizer_internal {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false;  ///< only where no word character is next to it
  bool strip_left = false;   ///< takes the white space before it
  bool strip_right = false;  ///< takes the white space after it
  bool special = false;      ///< no text of its own, such as a begin token
  bool normalized = false;   ///< looked for, normalized, in normalized text
};

/// Reads "added_tokens". Throws Error{Malformed, "T12"}, for an id that Hugging Face's tokenizers
/// would replace too.
std::vector<AddedToken> read_added_tokens(const nlohmann::ordered_json& list,
                                          const Vocabulary& vocabulary);

/// A part of a text: an added token, or text between them.
struct AddedTokenSpan {
  std::string_view text;
  std::int32_t id;  ///< -1: text
};

/// Finds added tokens in text: leftmost first, and of those that start there the longest.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;

  /// Takes those tokens whose `normalized` is the given one; the text to look for is normalized
  /// where it is set.
  AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized,
                    const Normalizer& normalizer);

  /// Returns the parts of valid UTF-8 `text` in order, without empty ones.
  std::vector<AddedTokenSpan> split(std::string_view text) const;

 private:
  struct Pattern {
    std::string text;
    AddedToken token;
  };
  const Pattern* longest_at(std::string_view text) const;

  std::vector<Pattern> patterns_;                                         // sorted by text
  std::array<std::pair<std::size_t, std::size_t>, 256> by_first_byte_{};  // ranges of patterns_
};

}  // namespace edgecompress::tokenizer_internal
