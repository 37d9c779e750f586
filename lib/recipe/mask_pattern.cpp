#include "recipe/mask_pattern.h"

#include "recipe/fields.h"

namespace edgecompress {

std::optional<SparsityPattern> parse_mask_pattern(std::string_view text, double sparsity) {
  constexpr std::int64_t kLongestRun = 64;
  constexpr std::int64_t kLargestSide = 256;
  if (text == "unstructured") return Unstructured{.sparsity = sparsity};
  if (text == "per-row") return PerRow{.sparsity = sparsity};
  const std::size_t split = text.find_first_of(":x");
  if (split == std::string_view::npos) return {};
  const std::optional<std::int64_t> first = parse_integer(text.substr(0, split));
  const std::optional<std::int64_t> second = parse_integer(text.substr(split + 1));
  if (!first || !second || *first < 1 || *second < 1) return {};
  if (text[split] == ':') {
    if (*first >= *second || *second > kLongestRun) return {};
    return NofM{.keep = *first, .of = *second};
  }
  if (*first > kLargestSide || *second > kLargestSide || *first * *second == 1) return {};
  return Blocks{.rows = *first, .columns = *second, .sparsity = sparsity};
}

}  // namespace edgecompress
