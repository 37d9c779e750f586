#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/pair_table.h"
#include "tokenizer/tokenizer_json.h"

namespace edgecompress::tokenizer_internal {

/// Byte pair encoding of one word, as the `BPE` model of Hugging Face's tokenizers.
class Bpe {
 public:
  /// file: its vocabulary and merges are taken over. Throws Error T3, T4, T9, T11.
  explicit Bpe(TokenizerJson& file);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Working space of encode(), to be reused from word to word.
  struct Scratch {
    struct Symbol {
      std::int32_t id;
      std::int32_t previous;
      std::int32_t next;
    };
    struct Candidate {
      std::uint32_t rank;
      std::int32_t position;
      std::int32_t left, right;  // ids when it was queued: it is stale once they differ
      std::int32_t result;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
  };

  /// Appends the ids of `word` (valid UTF-8, less than 2^31 bytes). O(n log n) for any content.
  void encode(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const;

 private:
  void read_options(const nlohmann::ordered_json& model);
  void resolve_merges(const std::vector<std::pair<std::string, std::string>>& merges);
  void find_crossings(const std::vector<std::pair<std::int32_t, std::int32_t>>& operands);
  std::int32_t find_character(std::string_view character) const;
  void push(std::int32_t id, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void merge_all(Scratch& scratch, std::vector<std::int32_t>& ids) const;

  Vocabulary vocabulary_;
  PairTable merges_;
  PairTable crossings_;  // pairs of characters that some merge joins
  bool crossings_known_ = false;
  std::array<std::int32_t, 0x800>
      short_characters_{};                 // ids of one- and two-byte characters by code point
  std::array<std::int32_t, 256> bytes_{};  // ids of <0x00> ... <0xFF>
  std::int32_t unknown_ = -1;
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace edgecompress::tokenizer_internal
