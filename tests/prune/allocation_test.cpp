#include "prune/allocation.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/error.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr CutShape kShape{.hidden_size = 64,
                          .head_dim = 16,
                          .num_attention_heads = 8,
                          .num_key_value_heads = 4,
                          .intermediate_size = 200,
                          .sequence_length = 128};

/// Blocks whose parts are worth more and more, every part something else.
std::vector<PartScores> rising_worths(std::size_t blocks) {
  std::vector<PartScores> worths(blocks);
  for (std::size_t b = 0; b < blocks; ++b) {
    for (int i = 0; i < 4; ++i) {
      worths[b].kv_groups.push_back(100.0 * static_cast<double>(b + 1) * (1 + (i * 3 % 4)));
    }
    for (int i = 0; i < 200; ++i) {
      worths[b].channels.push_back(static_cast<double>(b + 1) * (1 + (i * 7 % 200)));
    }
  }
  return worths;
}

StructuredCut cut_of(double ratio) {
  return {.ratio = ratio, .channel_multiple = 32, .allocation = CutAllocation::PerLayer};
}

double removed_share(const std::vector<CutWidths>& widths, StructuredTarget target) {
  const PartCosts costs = part_costs(target, kShape);
  double removed = 0;
  for (const CutWidths& block : widths) {
    removed += costs.group * static_cast<double>(4 - block.num_key_value_heads) +
               costs.channel * static_cast<double>(200 - block.intermediate_size);
  }
  return removed / (costs.block * static_cast<double>(widths.size()));
}

TEST_CASE("the parts worth the least per cost go, until the ratio of the whole is reached",
          "[prune][property]") {
  const auto target = GENERATE(StructuredTarget::Parameters, StructuredTarget::Flops);
  const auto ratio = GENERATE(0.05, 0.2, 0.35, 0.5);
  StructuredCut cut = cut_of(ratio);
  cut.target = target;
  const std::vector<CutWidths> widths = allocate_cut(cut, kShape, rising_worths(5));
  REQUIRE(widths.size() == 5);
  const PartCosts costs = part_costs(target, kShape);
  const double largest_part = std::max(costs.group, costs.channel * 32) / (costs.block * 5);
  CHECK(removed_share(widths, target) >= ratio - 1e-9);
  CHECK(removed_share(widths, target) < ratio + largest_part);
  for (std::size_t b = 0; b < widths.size(); ++b) {
    CHECK(widths[b].num_key_value_heads >= 1);
    CHECK((widths[b].intermediate_size == 200 || widths[b].intermediate_size % 32 == 0));
    if (b == 0) continue;
    // A later block is worth more in every part.
    CHECK(widths[b].num_key_value_heads >= widths[b - 1].num_key_value_heads);
    CHECK(widths[b].intermediate_size >= widths[b - 1].intermediate_size);
  }
  CHECK((widths.front().intermediate_size < widths.back().intermediate_size ||
         widths.front().num_key_value_heads < widths.back().num_key_value_heads));
}

TEST_CASE("shares of groups and of channels are each spread over the blocks", "[prune]") {
  StructuredCut cut = cut_of(0.9);  // not looked at
  cut.parts = PartShares{.kv_groups = 0.3, .channels = 0.2};
  const std::vector<CutWidths> widths = allocate_cut(cut, kShape, rising_worths(5));
  std::int64_t groups = 0;
  std::int64_t channels = 0;
  for (const CutWidths& block : widths) {
    groups += 4 - block.num_key_value_heads;
    channels += 200 - block.intermediate_size;
  }
  CHECK(groups == 6);  // of 20
  CHECK(channels >= 200);
  CHECK(channels < 200 + 32);
  CHECK(widths.front().num_key_value_heads == 1);
  CHECK(widths.back().num_key_value_heads == 4);
  CHECK(widths.front().intermediate_size < widths.back().intermediate_size);
  cut.parts = PartShares{.channels = 0.2};
  for (const CutWidths& block : allocate_cut(cut, kShape, rising_worths(5))) {
    CHECK(block.num_key_value_heads == 4);
  }
  cut.parts = PartShares{.kv_groups = 0.9};
  CHECK_THROWS_AS(allocate_cut(cut, kShape, rising_worths(5)), Error);
}

TEST_CASE("protected blocks stay whole and the others give more", "[prune]") {
  StructuredCut cut = cut_of(0.3);
  cut.protect_first = 1;
  cut.protect_last = 2;
  const std::vector<CutWidths> widths = allocate_cut(cut, kShape, rising_worths(6));
  for (const std::size_t whole : {0, 4, 5}) {
    CHECK(widths[whole].num_key_value_heads == 4);
    CHECK(widths[whole].intermediate_size == 200);
  }
  CHECK(removed_share(widths, StructuredTarget::Parameters) >= 0.3 - 1e-9);
}

TEST_CASE("an allocation out of reach is refused with the largest that is not", "[prune]") {
  StructuredCut cut = cut_of(0.8);
  cut.protect_first = 2;
  std::string message;
  try {
    allocate_cut(cut, kShape, rising_worths(4));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Unsupported);
    message = error.what();
  }
  const std::string before = "at most ";
  REQUIRE(message.find(before) != std::string::npos);
  cut.ratio = std::stod(message.substr(message.find(before) + before.size()));
  const std::vector<CutWidths> widths = allocate_cut(cut, kShape, rising_worths(4));
  CHECK(widths[3].num_key_value_heads == 1);
  CHECK(widths[3].intermediate_size == 32);
  cut.ratio += 2e-4;
  CHECK_THROWS_AS(allocate_cut(cut, kShape, rising_worths(4)), Error);
}

TEST_CASE("blocks with more outliers are masked less, and the mean stays", "[prune][property]") {
  const std::vector<double> shares{0.02, 0.05, 0.01, 0.03};
  for (const double sparsity : {0.1, 0.5, 0.9}) {
    const std::vector<double> found = outlier_sparsities(shares, sparsity, 0.08);
    CHECK(std::accumulate(found.begin(), found.end(), 0.0) / 4 == Approx(sparsity));
    CHECK(found[1] < found[3]);
    CHECK(found[3] < found[0]);
    CHECK(found[0] < found[2]);
    CHECK(*std::min_element(found.begin(), found.end()) >= 0);
    CHECK(*std::max_element(found.begin(), found.end()) <= 1);
  }
  const std::vector<double> half = outlier_sparsities(shares, 0.5, 0.08);
  CHECK(half[2] - half[1] == Approx(0.16));
  CHECK(outlier_sparsities({0.02, 0.02}, 0.4, 0.08) == std::vector<double>{0.4, 0.4});
}

}  // namespace
}  // namespace edgecompress
