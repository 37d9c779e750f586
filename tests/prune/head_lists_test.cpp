#include "prune/head_lists.h"

#include "base/error.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Heads = std::vector<std::int64_t>;
constexpr HeadCounts kCounts{.num_attention_heads = 8, .num_key_value_heads = 4};

std::string refusal(const HeadCounts& counts, const Heads& removed) {
  try {
    heads_left(counts, removed);
  } catch (const Error& error) {
    CHECK(error.code() == "P-HEADS");
    return error.what();
  }
  return "accepted";
}

TEST_CASE("head lists that leave every group as many heads are taken", "[prune]") {
  const auto kept = [](const Heads& removed) { return heads_left(kCounts, removed); };
  const KeptHeads group = kept({1, 0});
  CHECK(group.kv_groups == Heads{1, 2, 3});
  CHECK(group.query_heads == Heads{2, 3, 4, 5, 6, 7});
  const KeptHeads one_of_each = kept({1, 2, 4, 7});
  CHECK(one_of_each.kv_groups == Heads{0, 1, 2, 3});
  CHECK(one_of_each.query_heads == Heads{0, 3, 5, 6});
  const KeptHeads both = kept({4, 5, 0, 3, 6});
  CHECK(both.kv_groups == Heads{0, 1, 3});
  CHECK(both.query_heads == Heads{1, 2, 7});
  CHECK(kept({}).query_heads.size() == 8);
}

TEST_CASE("head lists that cannot be are refused with ones that can", "[prune]") {
  struct Case {
    Heads removed;
    std::string_view words;
  };
  const auto lie = GENERATE(
      Case{{2},
           "KV group 0 would keep 2 query heads and group 1 1; whole groups can go, for "
           "example [2, 3], or as many heads of every group, for example [0, 2, 4, 6]"},
      Case{{1},
           "KV group 0 would keep 1 query heads and group 1 2; whole groups can go, for "
           "example [0, 1]"},
      Case{{0, 1, 5}, "KV group 1 would keep 2 query heads and group 2 1"},
      Case{{8}, "there is no head 8, they are 0 to 7"}, Case{{-1}, "there is no head -1"},
      Case{{3, 3}, "head 3 is named twice"}, Case{{0, 1, 2, 3, 4, 5, 6, 7}, "no head would stay"});
  CHECK_THAT(refusal(kCounts, lie.removed), Catch::Matchers::Contains(std::string(lie.words)));
  CHECK_THAT(refusal({.num_attention_heads = 3, .num_key_value_heads = 3}, {3}),
             !Catch::Matchers::Contains("as many heads of every group"));
}

}  // namespace
}  // namespace edgecompress
