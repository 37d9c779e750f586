#include "prune/allocation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace edgecompress {
namespace {

/// Parts of one block that go together.
struct Candidate {
  double worth_per_cost;
  double cost;
  std::size_t block;
  std::int64_t kv_groups;
  std::int64_t channels;
};

/// Adds a block's KV groups and bundles of channels, but for those that must stay.
class Candidates {
 public:
  Candidates(const StructuredCut& cut, const PartCosts& costs) : cut_(cut), costs_(costs) {}

  void add_block(std::size_t block, PartWorths worths) {
    std::sort(worths.kv_groups.begin(), worths.kv_groups.end());
    for (std::size_t i = 0; i + 1 < worths.kv_groups.size(); ++i) {
      add({worths.kv_groups[i], costs_.group, block, 1, 0});
    }
    std::sort(worths.channels.begin(), worths.channels.end());
    const auto total = static_cast<std::int64_t>(worths.channels.size());
    const std::int64_t multiple = cut_.channel_multiple;
    std::int64_t begin = 0;
    // The first bundle brings the width to a multiple.
    std::int64_t end = total % multiple == 0 ? multiple : total % multiple;
    for (; end <= total - multiple; begin = end, end += multiple) {
      const double worth =
          std::accumulate(worths.channels.begin() + begin, worths.channels.begin() + end, 0.0);
      const std::int64_t count = end - begin;
      add({worth, costs_.channel * static_cast<double>(count), block, 0, count});
    }
  }

  /// The least worthy per cost first; of equals the earlier block, heads before channels.
  const std::vector<Candidate>& ranked() {
    std::stable_sort(all_.begin(), all_.end(), [](const Candidate& a, const Candidate& b) {
      return a.worth_per_cost < b.worth_per_cost;
    });
    return all_;
  }

  double cost() const {
    double sum = 0;
    for (const Candidate& candidate : all_) sum += candidate.cost;
    return sum;
  }

 private:
  void add(Candidate candidate) {
    ensure(std::isfinite(candidate.worth_per_cost), "finite worths");
    candidate.worth_per_cost /= candidate.cost;
    all_.push_back(candidate);
  }

  const StructuredCut& cut_;
  const PartCosts& costs_;
  std::vector<Candidate> all_;
};

}  // namespace

std::vector<CutWidths> allocate_cut(const StructuredCut& cut, const CutShape& shape,
                                    const std::vector<PartWorths>& worths) {
  const PartCosts costs = part_costs(cut.target, shape);
  const auto blocks = static_cast<std::int64_t>(worths.size());
  Candidates candidates(cut, costs);
  for (std::int64_t block = cut.protect_first; block < blocks - cut.protect_last; ++block) {
    const auto at = static_cast<std::size_t>(block);
    candidates.add_block(at, worths[at]);
  }
  const double all = costs.block * static_cast<double>(blocks);
  const double goal = cut.ratio * all * (1 - 1e-12);  // the ratio itself may not be exact in binary
  if (candidates.cost() < goal) {
    throw Error(ErrorKind::Unsupported, "U2",
                concat("a removal ratio of ", cut.ratio,
                       " is out of reach: with the protected blocks, a KV group and ",
                       cut.channel_multiple, " FFN channels left in each other block, at most ",
                       std::floor(candidates.cost() / all * 1e4) / 1e4, " can go"));
  }
  std::vector<CutWidths> widths(worths.size(),
                                {shape.num_key_value_heads, shape.intermediate_size});
  double removed = 0;
  for (const Candidate& candidate : candidates.ranked()) {
    if (removed >= goal) break;
    widths[candidate.block].num_key_value_heads -= candidate.kv_groups;
    widths[candidate.block].intermediate_size -= candidate.channels;
    removed += candidate.cost;
  }
  return widths;
}

std::vector<double> outlier_sparsities(const std::vector<double>& shares, double sparsity,
                                       double spread) {
  ensure(!shares.empty(), "at least one block");
  const auto [least, most] = std::minmax_element(shares.begin(), shares.end());
  const double range = *most - *least;
  const double reach = std::min({spread, sparsity / 2, (1 - sparsity) / 2});
  std::vector<double> offsets;  // 0 for the fewest outliers, 2 * reach for the most
  for (const double share : shares) {
    offsets.push_back(range > 0 ? (share - *least) / range * 2 * reach : 0);
  }
  const double mean =
      std::accumulate(offsets.begin(), offsets.end(), 0.0) / static_cast<double>(offsets.size());
  std::vector<double> sparsities;
  for (const double offset : offsets) sparsities.push_back(sparsity + mean - offset);
  return sparsities;
}

}  // namespace edgecompress
