#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace edgecompress {

/// Whether the post-processor's special tokens (usually the BOS token) are added.
enum class SpecialTokens { Add, Leave };

/// A tokenizer.json, with the same ids and the same text as Hugging Face's tokenizers library
/// gives.
///
/// Two kinds are read: SentencePiece-like BPE with byte fallback (Llama 2) and byte-level BPE with
/// a split pattern (Llama 3); added tokens and post-processors of both. Everything else is refused
/// by name, never approximated.
///
/// "truncation" and "padding" are not applied, as in transformers' calls. Which characters are
/// letters and digits is what the installed PCRE2's Unicode version says: the one known difference,
/// for characters newer than that.
class Tokenizer {
 public:
  /// Reads `folder`/tokenizer.json. Throws Error{Missing}; Error{Malformed} I7 for a link out of
  /// the folder; Error{Malformed} or Error{Unsupported} with the codes T1 ... T17 of
  /// docs/security.md.
  static Tokenizer open(const std::filesystem::path& folder);
  static Tokenizer parse(std::string_view json, const std::string& source);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// text:    UTF-8; malformed sequences are refused with Error{Malformed} and their byte offset.
  /// Returns  the ids of the whole text in one encoding.
  /// Throws   Error{Malformed} when the split pattern's match limit is reached.
  /// Cost:    about linear; thread-safe.
  std::vector<std::int32_t> encode(std::string_view text, SpecialTokens special) const;

  /// The inverse, special tokens included as their text. Throws Error{Malformed} for an id that is
  /// not in the vocabulary.
  std::string decode(std::span<const std::int32_t> ids) const;

  /// The ids without those of added tokens that tokenizer.json calls special: begin, end, padding
  /// and control tokens.
  std::vector<std::int32_t> without_special(std::span<const std::int32_t> ids) const;

  /// Largest id + 1, added tokens included.
  std::int64_t vocabulary_size() const;

  /// The number of tokens of the model part, added tokens left out.
  std::int64_t base_vocabulary_size() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace edgecompress
