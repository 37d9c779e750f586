#include "prune/head_lists.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace edgecompress {
namespace {

std::string listed(std::span<const std::int64_t> heads) {
  std::string out;
  for (const std::int64_t head : heads) out += concat(out.empty() ? "" : ", ", head);
  return "[" + out + "]";
}

/// The lists nearest to what was asked for: a whole group, one head of every group.
std::string possible_lists(const HeadCounts& counts, std::int64_t group) {
  const std::int64_t per_group = counts.num_attention_heads / counts.num_key_value_heads;
  std::vector<std::int64_t> whole;
  for (std::int64_t i = 0; i < per_group; ++i) whole.push_back(group * per_group + i);
  std::string out = concat("whole groups can go, for example ", listed(whole));
  if (per_group == 1) return out;
  std::vector<std::int64_t> one_of_each;
  for (std::int64_t i = 0; i < counts.num_key_value_heads; ++i) {
    one_of_each.push_back(i * per_group);
  }
  return concat(out, ", or as many heads of every group, for example ", listed(one_of_each));
}

[[noreturn]] void refuse(const HeadCounts& counts, std::span<const std::int64_t> removed,
                         const std::string& why, std::int64_t group) {
  throw Error(ErrorKind::Unsupported, "P-HEADS",
              concat("heads ", listed(removed), " cannot be removed from ",
                     counts.num_attention_heads, " query heads in ", counts.num_key_value_heads,
                     " KV groups: ", why, "; ", possible_lists(counts, group)));
}

std::vector<bool> marked(const HeadCounts& counts, std::span<const std::int64_t> removed) {
  std::vector<bool> gone(static_cast<std::size_t>(counts.num_attention_heads), false);
  for (const std::int64_t head : removed) {
    if (head < 0 || head >= counts.num_attention_heads) {
      refuse(counts, removed,
             concat("there is no head ", head, ", they are 0 to ", counts.num_attention_heads - 1),
             0);
    }
    if (gone[static_cast<std::size_t>(head)]) {
      refuse(counts, removed, concat("head ", head, " is named twice"), 0);
    }
    gone[static_cast<std::size_t>(head)] = true;
  }
  return gone;
}

}  // namespace

KeptHeads heads_left(const HeadCounts& counts, std::span<const std::int64_t> removed) {
  ensure(counts.num_key_value_heads > 0 &&
             counts.num_attention_heads % counts.num_key_value_heads == 0,
         "query heads that fill the KV groups");
  const std::vector<bool> gone = marked(counts, removed);
  const std::int64_t per_group = counts.num_attention_heads / counts.num_key_value_heads;
  KeptHeads kept;
  std::int64_t first_kept = 0;  // heads of the first group that stays
  for (std::int64_t group = 0; group < counts.num_key_value_heads; ++group) {
    std::int64_t stay = 0;
    for (std::int64_t head = group * per_group; head < (group + 1) * per_group; ++head) {
      if (gone[static_cast<std::size_t>(head)]) continue;
      kept.query_heads.push_back(head);
      ++stay;
    }
    if (stay == 0) continue;
    if (kept.kv_groups.empty()) first_kept = stay;
    if (stay != first_kept) {
      const std::int64_t damaged = stay < per_group ? group : kept.kv_groups.front();
      refuse(counts, removed,
             concat("KV group ", kept.kv_groups.front(), " would keep ", first_kept,
                    " query heads and group ", group, " ", stay),
             damaged);
    }
    kept.kv_groups.push_back(group);
  }
  if (kept.kv_groups.empty()) refuse(counts, removed, "no head would stay", 0);
  return kept;
}

}  // namespace edgecompress
