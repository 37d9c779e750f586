#include "prune/structured.h"

#include <cmath>
#include <string>
#include <vector>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHidden = 12;
constexpr std::int64_t kHeadDim = 4;
constexpr std::int64_t kGroups = 3;
constexpr std::int64_t kHeadsPerGroup = 2;
constexpr std::int64_t kChannels = 20;

struct Block {
  BlockMatrices matrices;
  BlockInputNorms norms;
};

Block make_block() {
  at::manual_seed(5);
  const std::int64_t attention = kGroups * kHeadsPerGroup * kHeadDim;
  return {{.q = at::randn({attention, kHidden}),
           .k = at::randn({kGroups * kHeadDim, kHidden}),
           .v = at::randn({kGroups * kHeadDim, kHidden}),
           .o = at::randn({kHidden, attention}),
           .gate = at::randn({kChannels, kHidden}),
           .up = at::randn({kChannels, kHidden}),
           .down = at::randn({kHidden, kChannels})},
          {.o = at::rand({attention}) + 0.1, .down = at::rand({kChannels}) + 0.1}};
}

double total_power(const at::Tensor& matrix, int norm) {
  return matrix.to(at::kDouble).abs().pow(norm).sum().item<double>();
}

// What the definition says, from slices instead of running sums.
double group_power(const BlockMatrices& m, std::int64_t group, int norm) {
  const std::int64_t kv = group * kHeadDim;
  const std::int64_t q = kv * kHeadsPerGroup;
  const std::int64_t q_rows = kHeadDim * kHeadsPerGroup;
  return total_power(m.q.narrow(0, q, q_rows), norm) +
         total_power(m.k.narrow(0, kv, kHeadDim), norm) +
         total_power(m.v.narrow(0, kv, kHeadDim), norm) +
         total_power(m.o.narrow(1, q, q_rows), norm);
}

// Tokens whose inputs are uncorrelated and have the given norms.
at::Tensor tokens_of(const at::Tensor& norms) { return at::diag(norms.to(at::kDouble)); }

TEST_CASE("a magnitude score is the norm of all that a cut removes", "[prune][property]") {
  const auto norm = GENERATE(1, 2);
  const BlockMatrices m = make_block().matrices;
  const auto root = [&](double power) { return norm == 1 ? power : std::sqrt(power); };
  const at::Tensor groups = kv_group_scores(m, {}, kHeadDim, MagnitudeScore{.norm = norm});
  REQUIRE(groups.size(0) == kGroups);
  for (std::int64_t g = 0; g < kGroups; ++g) {
    CHECK(groups[g].item<double>() == Approx(root(group_power(m, g, norm))));
  }
  const at::Tensor channels = channel_scores(m, {}, MagnitudeScore{.norm = norm});
  REQUIRE(channels.size(0) == kChannels);
  for (std::int64_t c = 0; c < kChannels; ++c) {
    const double power = total_power(m.gate[c], norm) + total_power(m.up[c], norm) +
                         total_power(m.down.select(1, c), norm);
    CHECK(channels[c].item<double>() == Approx(root(power)));
  }
}

TEST_CASE("an activation score is the output that a cut removes from uncorrelated inputs",
          "[prune][property]") {
  const auto [m, norms] = make_block();
  const at::Tensor groups = kv_group_scores(m, norms, kHeadDim, ActivationScore{});
  REQUIRE(groups.size(0) == kGroups);
  const std::int64_t width = kHeadDim * kHeadsPerGroup;
  for (std::int64_t g = 0; g < kGroups; ++g) {
    const at::Tensor x = tokens_of(norms.o).narrow(1, g * width, width);   // [tokens, width]
    const at::Tensor w = m.o.to(at::kDouble).narrow(1, g * width, width);  // [hidden, width]
    CHECK(groups[g].item<double>() == Approx(at::matmul(x, w.t()).norm().item<double>()));
  }
  const at::Tensor channels = channel_scores(m, norms, ActivationScore{});
  REQUIRE(channels.size(0) == kChannels);
  for (std::int64_t c = 0; c < kChannels; ++c) {
    const at::Tensor x = tokens_of(norms.down).narrow(1, c, 1);  // [tokens, 1]
    const at::Tensor w = m.down.to(at::kDouble).narrow(1, c, 1);
    CHECK(channels[c].item<double>() == Approx(at::matmul(x, w.t()).norm().item<double>()));
  }
}

TEST_CASE("scores are the same bits for any number of threads", "[prune][property]") {
  at::manual_seed(6);
  BlockMatrices m;
  m.gate = at::randn({1700, 90});
  m.up = at::randn({1700, 90});
  m.down = at::randn({90, 1700});
  BlockInputNorms norms;
  norms.down = at::rand({1700});
  const auto score = GENERATE(StructuredScore{MagnitudeScore{}}, StructuredScore{ActivationScore{}},
                              StructuredScore{FluctuationScore{}}, StructuredScore{RandomScore{}});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = channel_scores(m, norms, score);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    CHECK(at::equal(one, channel_scores(m, norms, score)));
  }
  at::set_num_threads(before);
}

TEST_CASE("a score that is not finite is refused", "[prune]") {
  BlockMatrices m = make_block().matrices;
  m.up[7][3] = std::nan("");
  try {
    channel_scores(m, {}, MagnitudeScore{});
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Numeric);
    CHECK(std::string(error.what()).find("group 7") != std::string::npos);
  }
}

TEST_CASE("a fluctuation score is the activation score of inputs about their means", "[prune]") {
  const auto [m, norms] = make_block();
  CHECK(at::equal(channel_scores(m, norms, FluctuationScore{}),
                  channel_scores(m, norms, ActivationScore{})));
  CHECK(at::equal(kv_group_scores(m, norms, kHeadDim, FluctuationScore{}),
                  kv_group_scores(m, norms, kHeadDim, ActivationScore{})));
}

TEST_CASE("random scores are the seed's, of each block and each kind of part their own",
          "[prune]") {
  const BlockMatrices m = make_block().matrices;
  const auto channels = [&](std::uint64_t seed, std::int64_t block) {
    return channel_scores(m, {}, random_score_of_block({.seed = seed}, block));
  };
  CHECK(at::equal(channels(7, 2), channels(7, 2)));
  CHECK_FALSE(at::equal(channels(7, 2), channels(8, 2)));
  CHECK_FALSE(at::equal(channels(7, 2), channels(7, 3)));
  const at::Tensor groups = kv_group_scores(m, {}, kHeadDim, random_score_of_block({7}, 2));
  CHECK_FALSE(at::equal(groups, channels(7, 2).narrow(0, 0, kGroups)));
  CHECK((channels(7, 2) >= 0).all().item<bool>());
  CHECK((channels(7, 2) < 1).all().item<bool>());
  CHECK(channels(7, 2).diff().ne(0).all().item<bool>());
}

TEST_CASE("the largest scores stay in their order, the lower index of equals", "[prune]") {
  const at::Tensor scores = at::tensor({3.0, 5.0, 1.0, 5.0, 3.0, 3.0}, at::kDouble);
  CHECK(keep_largest(scores, 0).empty());
  CHECK(keep_largest(scores, 2) == std::vector<std::int64_t>{1, 3});
  CHECK(keep_largest(scores, 4) == std::vector<std::int64_t>{0, 1, 3, 4});
  CHECK(keep_largest(scores, 6) == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5});
}

// TinyLlama's block.
struct Shape {
  std::int64_t hidden = 2048;
  std::int64_t head_dim = 64;
  std::int64_t heads = 32;
  std::int64_t groups = 4;
  std::int64_t channels = 5632;
  std::int64_t length = 1024;
};

CutWidths plan(const StructuredCut& cut, const Shape& s) {
  return plan_cut(cut, {s.hidden, s.head_dim, s.heads, s.groups, s.channels, s.length});
}

// Counted matrix by matrix: q and o, k and v, gate, up and down; then the two products of
// attention.
double cost(const Shape& s, const CutWidths& widths, StructuredTarget target) {
  const std::int64_t heads = s.heads / s.groups * widths.num_key_value_heads;
  const std::int64_t attention = heads * s.head_dim;
  const std::int64_t weights = s.hidden * attention + attention * s.hidden +
                               2 * s.hidden * widths.num_key_value_heads * s.head_dim +
                               3 * s.hidden * widths.intermediate_size;
  if (target == StructuredTarget::Parameters) return static_cast<double>(weights);
  return static_cast<double>(2 * weights + 2 * heads * s.head_dim * s.length +
                             2 * heads * s.length * s.head_dim);
}

TEST_CASE("a planned cut removes at least its ratio and hardly more", "[prune][property]") {
  const auto target = GENERATE(StructuredTarget::Parameters, StructuredTarget::Flops);
  const auto shape = GENERATE(Shape{}, Shape{.heads = 8, .groups = 8, .channels = 1376},
                              Shape{.hidden = 384, .heads = 6, .groups = 2, .channels = 1000});
  const CutWidths whole{shape.groups, shape.channels};
  const double all = cost(shape, whole, target);
  for (const double ratio : {0.0, 0.05, 0.1, 0.2, 0.25, 1.0 / 3, 0.5, 0.7}) {
    const CutWidths widths = plan({.target = target, .ratio = ratio}, shape);
    CAPTURE(ratio, widths.num_key_value_heads, widths.intermediate_size);
    CHECK(cost(shape, widths, target) <= all * (1 - ratio) * (1 + 1e-9));
    CHECK(widths.num_key_value_heads >= 1);
    const double removed_groups = static_cast<double>(shape.groups - widths.num_key_value_heads);
    const double wanted_groups = ratio * static_cast<double>(shape.groups);
    // At most half a group off, except that one always stays.
    if (wanted_groups < static_cast<double>(shape.groups) - 0.5) {
      CHECK(std::abs(removed_groups - wanted_groups) <= 0.5);
    }
    if (widths.intermediate_size == shape.channels) continue;
    CHECK(widths.intermediate_size % 32 == 0);
    CHECK(widths.intermediate_size >= 32);
    const CutWidths wider{widths.num_key_value_heads, widths.intermediate_size + 32};
    CHECK(cost(shape, wider, target) > all * (1 - ratio));
  }
}

TEST_CASE("a ratio that whole groups and channels meet exactly costs no channel more", "[prune]") {
  // A quarter of 4 groups and of 5632 = 44 * 128 channels.
  const CutWidths widths = plan({.ratio = 0.25}, {});
  CHECK(widths.num_key_value_heads == 3);
  CHECK(widths.intermediate_size == 4224);
  // 0.2 of 10 groups and of 3200 channels; 0.2 has no exact binary form.
  const CutWidths fifth = plan({.ratio = 0.2}, {.heads = 10, .groups = 10, .channels = 3200});
  CHECK(fifth.num_key_value_heads == 8);
  CHECK(fifth.intermediate_size == 2560);
}

TEST_CASE("attention products count as FLOPs, so that long sequences spare the FFN", "[prune]") {
  // 4 groups of 8 heads: one group is a quarter of the products whatever their share.
  const StructuredCut cut{.target = StructuredTarget::Flops, .ratio = 0.2};
  const CutWidths near = plan(cut, {.length = 1});
  const CutWidths far = plan(cut, {.length = 100000});
  CHECK(near.num_key_value_heads == 3);
  CHECK(far.num_key_value_heads == 3);
  CHECK(near.intermediate_size < far.intermediate_size);
  CHECK(far.intermediate_size == 5632);  // a quarter of the products is more than a fifth of all
}

TEST_CASE("a ratio out of reach is refused with the largest that is not", "[prune]") {
  const Shape shape{.heads = 4, .groups = 1, .channels = 320};
  std::string message;
  try {
    plan({.ratio = 0.95}, shape);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Unsupported);
    message = error.what();
  }
  const std::string before = "at most ";
  REQUIRE(message.find(before) != std::string::npos);
  const double largest = std::stod(message.substr(message.find(before) + before.size()));
  const CutWidths widths = plan({.ratio = largest}, shape);
  CHECK(widths.num_key_value_heads == 1);
  CHECK(widths.intermediate_size == 32);
  CHECK_THROWS_AS(plan({.ratio = largest + 2e-4}, shape), Error);
}

TEST_CASE("shares of heads and channels are each their own", "[prune]") {
  const auto parts = [](double groups, double channels) {
    return StructuredCut{.parts = PartShares{.kv_groups = groups, .channels = channels}};
  };
  CHECK(plan(parts(0.25, 0), {}).num_key_value_heads == 3);
  CHECK(plan(parts(0.25, 0), {}).intermediate_size == 5632);
  CHECK(plan(parts(0, 0.2), {}).num_key_value_heads == 4);
  CHECK(plan(parts(0, 0.2), {}).intermediate_size == 4480);  // 4505.6 down to a multiple of 32
  CHECK(plan(parts(0.3, 0.5), {}).num_key_value_heads == 3);
  CHECK(plan(parts(0.3, 0.5), {}).intermediate_size == 2816);
  for (const StructuredCut& wrong : {parts(0.1, 0), parts(0.9, 0), parts(0, 0.999)}) {
    CHECK_THROWS_AS(plan(wrong, {}), Error);  // no group, no group left, less than 32 channels left
  }
  CHECK_THROWS_AS(plan(parts(0.5, 0), {.heads = 8, .groups = 1}), Error);
}

}  // namespace
}  // namespace edgecompress
