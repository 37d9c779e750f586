#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace edgecompress {

/// Heads of a decoder block that stay, ascending, by their indices in the uncut block.
struct KeptHeads {
  std::vector<std::int64_t> kv_groups;
  std::vector<std::int64_t> query_heads;  ///< as many of each group
};

struct HeadCounts {
  std::int64_t num_attention_heads;
  std::int64_t num_key_value_heads;
};

/// What stays when the query heads `removed` go. A KV group that loses all of its heads goes with
/// them.
///
/// Throws  Error{Unsupported} P-HEADS, with lists that would do, when a head is not there or named
///         twice, when none would stay, or when groups that stay would keep different numbers of
///         heads: k and v are shared by equally many query heads.
KeptHeads heads_left(const HeadCounts& counts, std::span<const std::int64_t> removed);

}  // namespace edgecompress
