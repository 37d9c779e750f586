#include "prune/keep_mask.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

std::vector<MaskMethod> all_methods() { return {MagnitudeMask{}, WandaMask{}}; }

std::vector<SparsityPattern> all_patterns() {
  return {Unstructured{0.5},
          Unstructured{0.37},
          PerRow{0.5},
          PerRow{0.21},
          NofM{.keep = 2, .of = 4},
          NofM{.keep = 1, .of = 4},
          NofM{.keep = 5, .of = 8},
          Blocks{.rows = 16, .columns = 1, .sparsity = 0.4},
          Blocks{.rows = 4, .columns = 4, .sparsity = 0.5},
          Blocks{.rows = 3, .columns = 5, .sparsity = 0.3}};
}

struct Layer {
  at::Tensor weight;      // [out, in]
  at::Tensor input_norm;  // [in]
};

// Multiples of 1/4 up to 2: most scores have equals. 37 x 64 is ragged for every tile but 4
// columns.
Layer make_layer_with_ties() {
  at::manual_seed(3);
  const at::Tensor weight = (at::randint(-8, 9, {37, 64}) / 4).to(at::kFloat);
  return {weight, (at::randint(1, 4, {64}) / 2).to(at::kFloat)};
}

Layer make_layer(std::int64_t rows = 37, std::int64_t columns = 64) {
  at::manual_seed(4);
  return {at::randn({rows, columns}), at::rand({columns}) + 0.01};
}

// For each weight, which weights it competes with and which it is dropped together with, by the
// definition of the patterns. Weights of one tile have one tile number.
struct Place {
  std::int64_t competition;
  std::int64_t tile;
};

Place place_of(const SparsityPattern& pattern, std::int64_t row, std::int64_t column,
               std::int64_t columns) {
  const std::int64_t index = row * columns + column;
  if (std::holds_alternative<Unstructured>(pattern)) return {0, index};
  if (std::holds_alternative<PerRow>(pattern)) return {row, index};
  if (const auto* runs = std::get_if<NofM>(&pattern)) return {index / runs->of, index};
  const auto& blocks = std::get<Blocks>(pattern);
  const std::int64_t strip = row / blocks.rows;
  return {strip, strip * columns + column / blocks.columns};
}

double sparsity_of(const SparsityPattern& pattern) {
  if (const auto* runs = std::get_if<NofM>(&pattern)) {
    return 1 - static_cast<double>(runs->keep) / static_cast<double>(runs->of);
  }
  if (const auto* share = std::get_if<Unstructured>(&pattern)) return share->sparsity;
  if (const auto* share = std::get_if<PerRow>(&pattern)) return share->sparsity;
  return std::get<Blocks>(pattern).sparsity;
}

struct Tile {
  std::int64_t competition;
  std::int64_t number;
  double score;
};

// Sorts all tiles of each competition and drops the first of them: slow and obvious.
at::Tensor expected_mask(const Layer& layer, const MaskMethod& method,
                         const SparsityPattern& pattern) {
  const std::int64_t columns = layer.weight.size(1);
  at::Tensor score = layer.weight.to(at::kDouble).abs();
  if (std::holds_alternative<WandaMask>(method)) score = score * layer.input_norm.to(at::kDouble);
  if (std::holds_alternative<Blocks>(pattern)) score = score.square();
  std::vector<Tile> tiles;
  std::vector<std::size_t> tile_of_weight;
  for (std::int64_t i = 0; i < layer.weight.numel(); ++i) {
    const Place place = place_of(pattern, i / columns, i % columns, columns);
    const double own = score[i / columns][i % columns].item<double>();
    const auto found = std::find_if(tiles.rbegin(), tiles.rend(),
                                    [&](const Tile& tile) { return tile.number == place.tile; });
    const bool fresh = !std::holds_alternative<Blocks>(pattern) || found == tiles.rend();
    if (fresh) tiles.push_back({place.competition, place.tile, 0});
    const std::size_t at =
        fresh ? tiles.size() - 1 : static_cast<std::size_t>(tiles.rend() - found) - 1;
    tiles[at].score += own;
    tile_of_weight.push_back(at);
  }
  std::vector<std::size_t> order(tiles.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (tiles[a].competition != tiles[b].competition) {
      return tiles[a].competition < tiles[b].competition;
    }
    if (tiles[a].score != tiles[b].score) return tiles[a].score < tiles[b].score;
    return tiles[a].number > tiles[b].number;  // of equals the later ones go
  });
  std::vector<bool> kept(tiles.size(), true);
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    while (end < order.size() && tiles[order[end]].competition == tiles[order[begin]].competition) {
      ++end;
    }
    const auto drop = std::nearbyint(sparsity_of(pattern) * static_cast<double>(end - begin));
    for (std::size_t i = 0; i < static_cast<std::size_t>(drop); ++i) kept[order[begin + i]] = false;
    begin = end;
  }
  at::Tensor mask = at::empty(layer.weight.sizes(), at::kBool);
  bool* const out = mask.mutable_data_ptr<bool>();
  for (std::size_t i = 0; i < tile_of_weight.size(); ++i) out[i] = kept[tile_of_weight[i]];
  return mask;
}

TEST_CASE("a mask drops what a full sort puts first, the later one of equals",
          "[prune][property]") {
  for (const Layer& layer : {make_layer(), make_layer_with_ties()}) {
    for (const MaskMethod& method : all_methods()) {
      for (const SparsityPattern& pattern : all_patterns()) {
        INFO(describe(pattern));
        const at::Tensor mask = keep_mask(layer.weight, layer.input_norm, method, pattern);
        CHECK(at::equal(mask, expected_mask(layer, method, pattern)));
      }
    }
  }
}

// torch 2.13: prune.l1_unstructured(layer, "weight", amount), weight = i * 7919 % 10007 - 5003 for
// i = 0..29. Its counts are round(10.5) = 10 and round(22.5) = 22: halves go to even.
TEST_CASE("magnitude keeps what torch's l1_unstructured keeps", "[prune][golden]") {
  const at::Tensor weight =
      ((at::arange(30) * 7919).remainder(10007) - 5003).view({5, 6}).to(at::kFloat);
  const auto mask = [&](double sparsity) {
    return keep_mask(weight, {}, MagnitudeMask{}, Unstructured{sparsity}).to(at::kInt).flatten();
  };
  CHECK(at::equal(mask(0.35), at::tensor({1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1,
                                          1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1})));
  CHECK(at::equal(mask(0.75), at::tensor({1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1,
                                          0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1})));
}

TEST_CASE("every run keeps exactly N", "[prune][property]") {
  const Layer layer = make_layer_with_ties();
  const auto pattern = GENERATE(NofM{2, 4}, NofM{1, 2}, NofM{5, 8}, NofM{0, 4}, NofM{4, 4});
  for (const MaskMethod& method : all_methods()) {
    const at::Tensor mask = keep_mask(layer.weight, layer.input_norm, method, pattern);
    const at::Tensor counts = mask.view({-1, pattern.of}).sum(1);
    CHECK((counts == pattern.keep).all().item<bool>());
  }
}

TEST_CASE("every strip drops the same number of whole tiles", "[prune][property]") {
  const Layer layer = make_layer_with_ties();
  for (const MaskMethod& method : all_methods()) {
    const Blocks pattern{.rows = 16, .columns = 4, .sparsity = 0.4};
    const at::Tensor mask = keep_mask(layer.weight, layer.input_norm, method, pattern);
    for (const auto& [begin, rows] : {std::pair{0, 16}, std::pair{16, 16}, std::pair{32, 5}}) {
      const at::Tensor tiles = mask.narrow(0, begin, rows).view({rows, 16, 4}).sum({0, 2});
      CHECK((tiles == 0).sum().item<std::int64_t>() == 6);  // round(0.4 * 16)
      CHECK((tiles == rows * 4).sum().item<std::int64_t>() == 10);
    }
  }
}

TEST_CASE("sparsity 0 keeps and 1 drops every weight", "[prune]") {
  const Layer layer = make_layer();
  for (const MaskMethod& method : all_methods()) {
    const auto kept = [&](const SparsityPattern& pattern) {
      return keep_mask(layer.weight, layer.input_norm, method, pattern).sum().item<std::int64_t>();
    };
    CHECK(kept(Unstructured{0}) == layer.weight.numel());
    CHECK(kept(Unstructured{1}) == 0);
    CHECK(kept(PerRow{0}) == layer.weight.numel());
    CHECK(kept(PerRow{1}) == 0);
    CHECK(kept(Blocks{.rows = 4, .columns = 4, .sparsity = 0}) == layer.weight.numel());
    CHECK(kept(Blocks{.rows = 4, .columns = 4, .sparsity = 1}) == 0);
  }
}

TEST_CASE("Wanda with equal norms is magnitude", "[prune][property]") {
  // Neighbouring floats below 2, in no order. Products beyond 2, rounded to float, would tie.
  at::manual_seed(8);
  const at::Tensor weight = 1.9F + at::randperm(37 * 64, at::kFloat).view({37, 64}) * 0x1p-23;
  const at::Tensor equal_norms = at::full({64}, 1.1F);
  for (const SparsityPattern& pattern : all_patterns()) {
    if (std::holds_alternative<Blocks>(pattern)) continue;  // sums of squares do round
    INFO(describe(pattern));
    CHECK(at::equal(keep_mask(weight, equal_norms, WandaMask{}, pattern),
                    keep_mask(weight, {}, MagnitudeMask{}, pattern)));
  }
}

TEST_CASE("Wanda keeps a small weight of a loud input", "[prune]") {
  const at::Tensor weight = at::tensor({0.1F, 1.0F, -0.9F, 0.2F}).view({1, 4});
  const at::Tensor norm = at::tensor({20.0F, 1.0F, 1.0F, 0.0F});
  CHECK(at::equal(keep_mask(weight, norm, WandaMask{}, NofM{2, 4}),
                  at::tensor({1, 1, 0, 0}).view({1, 4}) == 1));
  CHECK(at::equal(keep_mask(weight, {}, MagnitudeMask{}, NofM{2, 4}),
                  at::tensor({0, 1, 1, 0}).view({1, 4}) == 1));
}

TEST_CASE("permuting rows permutes the mask", "[prune][property]") {
  const Layer layer = make_layer();
  const at::Tensor order = at::randperm(37, at::kLong);
  for (const MaskMethod& method : all_methods()) {
    for (const SparsityPattern& pattern : all_patterns()) {
      if (std::holds_alternative<Blocks>(pattern)) continue;  // a strip's rows belong together
      INFO(describe(pattern));
      const at::Tensor mask = keep_mask(layer.weight, layer.input_norm, method, pattern);
      const at::Tensor permuted =
          keep_mask(layer.weight.index_select(0, order), layer.input_norm, method, pattern);
      CHECK(at::equal(permuted, mask.index_select(0, order)));
    }
  }
}

TEST_CASE("a mask is the same for any number of threads", "[prune][property]") {
  Layer layer = make_layer(600, 1000);  // more than one piece of work per thread
  layer.weight = (layer.weight * 8).round();
  const int before = at::get_num_threads();
  for (const SparsityPattern& pattern :
       {SparsityPattern{Unstructured{0.5}}, SparsityPattern{PerRow{0.5}},
        SparsityPattern{NofM{2, 4}},
        SparsityPattern{Blocks{.rows = 16, .columns = 1, .sparsity = 0.4}}}) {
    INFO(describe(pattern));
    at::set_num_threads(1);
    const at::Tensor one = keep_mask(layer.weight, layer.input_norm, WandaMask{}, pattern);
    for (const int threads : {2, 3}) {
      at::set_num_threads(threads);
      CHECK(at::equal(one, keep_mask(layer.weight, layer.input_norm, WandaMask{}, pattern)));
    }
  }
  at::set_num_threads(before);
}

TEST_CASE("a weight need not be contiguous and is not modified", "[prune]") {
  const Layer layer = make_layer();
  const at::Tensor before = layer.weight.clone();
  const at::Tensor turned = layer.weight.t().contiguous().t();
  CHECK(at::equal(keep_mask(turned, {}, MagnitudeMask{}, PerRow{0.5}),
                  keep_mask(layer.weight, {}, MagnitudeMask{}, PerRow{0.5})));
  CHECK(at::equal(layer.weight, before));
}

std::pair<ErrorKind, std::string> refusal(const Layer& layer, const SparsityPattern& pattern) {
  try {
    keep_mask(layer.weight, layer.input_norm, WandaMask{}, pattern);
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  return {ErrorKind::Usage, "accepted"};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("rows that runs do not fill are refused with both numbers", "[prune]") {
  const auto [kind, text] = refusal(make_layer(), NofM{.keep = 2, .of = 5});
  CHECK(kind == ErrorKind::Unsupported);
  CHECK(contains(text, "2:5"));
  CHECK(contains(text, "64"));
}

TEST_CASE("what is not finite is refused by its place", "[prune]") {
  const auto bad = GENERATE(std::numeric_limits<float>::infinity(), std::nanf(""));
  Layer layer = make_layer();
  SECTION("a weight") {
    layer.weight[5][62] = bad;
    const auto [kind, text] = refusal(layer, PerRow{0.5});
    CHECK(kind == ErrorKind::Numeric);
    CHECK(contains(text, "weight [5, 62]"));
  }
  SECTION("an input norm") {
    layer.input_norm[41] = bad;
    const auto [kind, text] = refusal(layer, PerRow{0.5});
    CHECK(kind == ErrorKind::Numeric);
    CHECK(contains(text, "input 41"));
  }
}

}  // namespace
}  // namespace edgecompress
