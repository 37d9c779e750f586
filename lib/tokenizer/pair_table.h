#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgecompress::tokenizer_internal {

/// What merging two tokens gives.
struct MergeRule {
  std::uint32_t rank;
  std::int32_t result;
};

/// A hash table from pairs of token ids to merges. Encoding asks it about twice per character,
/// nearly always in vain, so it is one flat array with linear probing, at most half full.
class PairTable {
 public:
  /// pairs: the largest number of set() calls with different pairs.
  explicit PairTable(std::size_t pairs) : slots_(std::bit_ceil(2 * pairs + 2)) {}

  /// A later rule for the same pair replaces the earlier one.
  void set(std::int32_t left, std::int32_t right, MergeRule rule) {
    Slot& slot = slots_[position(key(left, right))];
    slot = {key(left, right), rule};
  }

  /// Returns the rule, or nullptr.
  const MergeRule* find(std::int32_t left, std::int32_t right) const {
    const Slot& slot = slots_[position(key(left, right))];
    return slot.key == kEmpty ? nullptr : &slot.rule;
  }

 private:
  static constexpr std::uint64_t kEmpty =
      ~std::uint64_t{0};  // ids are not negative, so no pair has this key
  struct Slot {
    std::uint64_t key = kEmpty;
    MergeRule rule{};
  };

  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }

  std::size_t position(std::uint64_t wanted) const {
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t mixed = wanted * 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio: spreads near keys
    mixed ^= mixed >> 32;
    std::size_t at = static_cast<std::size_t>(mixed) & mask;
    while (slots_[at].key != wanted && slots_[at].key != kEmpty) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;
};

}  // namespace edgecompress::tokenizer_internal
