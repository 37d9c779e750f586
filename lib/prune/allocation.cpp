#include "prune/allocation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

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

  /// All blocks but the protected ones.
  void add_blocks(const std::vector<PartScores>& worths) {
    const auto blocks = static_cast<std::int64_t>(worths.size());
    for (std::int64_t block = cut_.protect_first; block < blocks - cut_.protect_last; ++block) {
      const auto at = static_cast<std::size_t>(block);
      add_block(at, worths[at]);
    }
  }

  void add_block(std::size_t block, PartScores worths) {
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

/// How much of all blocks is to go, as a share and in the candidates' cost.
struct Goal {
  double share;
  double cost;
  double whole;  ///< cost of all parts
  std::string parts;
};

/// Takes the least worthy parts from the widths until the goal is reached.
void take_least(Candidates& candidates, const Goal& goal, std::vector<CutWidths>& widths) {
  // The goal itself may not be exact in binary.
  const double wanted = goal.cost * (1 - 1e-12);
  if (candidates.cost() < wanted) {
    throw Error(ErrorKind::Unsupported, "U2",
                concat("a removal ratio of ", goal.share, goal.parts,
                       " is out of reach: with the protected blocks, a KV group and one multiple "
                       "of FFN channels left in each other block, at most ",
                       std::floor(candidates.cost() / goal.whole * 1e4) / 1e4, " can go"));
  }
  double removed = 0;
  for (const Candidate& candidate : candidates.ranked()) {
    if (removed >= wanted) break;
    widths[candidate.block].num_key_value_heads -= candidate.kv_groups;
    widths[candidate.block].intermediate_size -= candidate.channels;
    removed += candidate.cost;
  }
}

/// The worths of one kind of part alone.
std::vector<PartScores> only(std::vector<PartScores> worths,
                             std::vector<double> PartScores::* other) {
  for (PartScores& block : worths) (block.*other).clear();
  return worths;
}

void allocate_parts(const StructuredCut& cut, const CutShape& shape,
                    const std::vector<PartScores>& worths, std::vector<CutWidths>& widths) {
  constexpr PartCosts kEach{.group = 1, .channel = 1, .block = 0};
  const auto blocks = static_cast<double>(worths.size());
  const double groups = blocks * static_cast<double>(shape.num_key_value_heads);
  Candidates by_group(cut, kEach);
  by_group.add_blocks(only(worths, &PartScores::channels));
  const double removed = std::nearbyint(cut.parts->kv_groups * groups);
  if (cut.parts->kv_groups > 0 && removed == 0) {
    throw Error(ErrorKind::Unsupported, "U2",
                concat("a share of ", cut.parts->kv_groups, " of ", groups,
                       " KV groups in all blocks is nearest to none; give a larger one"));
  }
  take_least(by_group, {cut.parts->kv_groups, removed, groups, " of the KV groups"}, widths);

  const double channels = blocks * static_cast<double>(shape.intermediate_size);
  Candidates by_channel(cut, kEach);
  by_channel.add_blocks(only(worths, &PartScores::kv_groups));
  take_least(by_channel,
             {cut.parts->channels, cut.parts->channels * channels, channels, " of the channels"},
             widths);
}

}  // namespace

std::vector<CutWidths> allocate_cut(const StructuredCut& cut, const CutShape& shape,
                                    const std::vector<PartScores>& worths) {
  std::vector<CutWidths> widths(worths.size(), {.num_key_value_heads = shape.num_key_value_heads,
                                                .intermediate_size = shape.intermediate_size});
  if (cut.parts) {
    allocate_parts(cut, shape, worths, widths);
    return widths;
  }
  const PartCosts costs = part_costs(cut.target, shape);
  Candidates candidates(cut, costs);
  candidates.add_blocks(worths);
  const double all = costs.block * static_cast<double>(worths.size());
  take_least(candidates, {cut.ratio, cut.ratio * all, all, ""}, widths);
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
