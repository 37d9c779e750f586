#include "prune/sparsegpt.h"

#include <cmath>
#include <limits>
#include <vector>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "compensated_layer.h"
#include "prune/keep_mask.h"
#include "stats/hessian.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRows = 53;      // more than a tile of rows
constexpr std::int64_t kColumns = 240;  // two blocks; a multiple of 4, 8 and 5

std::vector<SparsityPattern> all_patterns() {
  return {Unstructured{0.5},
          Unstructured{0.37},
          PerRow{0.5},
          PerRow{0.21},
          NofM{.keep = 2, .of = 4},
          NofM{.keep = 5, .of = 8},
          Blocks{.rows = 16, .columns = 1, .sparsity = 0.4},
          Blocks{.rows = 4, .columns = 4, .sparsity = 0.5},
          Blocks{.rows = 3, .columns = 5, .sparsity = 0.3}};
}

InverseFactor factor_of(const at::Tensor& hessian) {
  auto factor = inverse_factor(hessian, 0.01, natural_order(hessian.size(0)));
  REQUIRE(factor.has_value());
  return *std::move(factor);
}

InverseFactor identity_factor() { return factor_of(at::eye(kColumns, at::kDouble)); }

std::int64_t count_kept(const at::Tensor& keep) {
  return at::count_nonzero(keep).item<std::int64_t>();
}

TEST_CASE("SparseGPT drops exact numbers and leaves zeros only there", "[sparsegpt][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const InverseFactor factor = factor_of(layer.hessian);
  for (const SparsityPattern& pattern : all_patterns()) {
    INFO(describe(pattern));
    const auto [keep, weight, error] = sparsegpt(layer.weight, factor, pattern);
    CHECK(at::equal(weight != 0, keep));
    // The counts that magnitude masks of the same pattern have.
    const at::Tensor other = keep_mask(layer.weight, {}, MagnitudeMask{}, pattern);
    CHECK(count_kept(keep) == count_kept(other));
    if (!std::holds_alternative<Unstructured>(pattern)) {
      CHECK(at::equal(keep.sum(1), other.sum(1)));
    }
    if (const auto* runs = std::get_if<NofM>(&pattern)) {
      const at::Tensor in_runs = keep.view({-1, runs->of}).sum(1);
      CHECK(in_runs.min().item<std::int64_t>() == runs->keep);
      CHECK(in_runs.max().item<std::int64_t>() == runs->keep);
    }
  }
}

TEST_CASE("inputs that are not correlated leave magnitude's choice and the kept weights",
          "[sparsegpt][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  // Patterns whose competitions lie within a block of 128 columns.
  for (const SparsityPattern& pattern :
       {SparsityPattern{NofM{.keep = 2, .of = 4}}, SparsityPattern{NofM{.keep = 5, .of = 8}}}) {
    INFO(describe(pattern));
    const SparseWeight sparse = sparsegpt(layer.weight, identity_factor(), pattern);
    CHECK(at::equal(sparse.keep, keep_mask(layer.weight, {}, MagnitudeMask{}, pattern)));
    CHECK(at::equal(sparse.weight, layer.weight * sparse.keep));
  }
  const at::Tensor narrow = layer.weight.narrow(1, 0, 120).contiguous();
  const InverseFactor identity = factor_of(at::eye(120, at::kDouble));
  for (const SparsityPattern& pattern : all_patterns()) {
    INFO(describe(pattern));
    CHECK(at::equal(sparsegpt(narrow, identity, pattern).keep,
                    keep_mask(narrow, {}, MagnitudeMask{}, pattern)));
  }
}

TEST_CASE("equal scores keep the lower index", "[sparsegpt]") {
  const at::Tensor weight = at::ones({3, 8});
  const InverseFactor identity = factor_of(at::eye(8, at::kDouble));
  const at::Tensor front = at::arange(8) < 4;
  CHECK(at::equal(sparsegpt(weight, identity, PerRow{0.5}).keep, front.expand({3, 8})));
  CHECK(
      at::equal(sparsegpt(weight, identity, Unstructured{0.5}).keep.view(24), at::arange(24) < 12));
  const at::Tensor first_of_runs = (at::arange(8) % 4) < 1;
  CHECK(at::equal(sparsegpt(weight, identity, NofM{.keep = 1, .of = 4}).keep,
                  first_of_runs.expand({3, 8})));
}

TEST_CASE("the error that SparseGPT tells is that of its weights, and below a plain mask's",
          "[sparsegpt][property]") {
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  const InverseFactor factor = factor_of(layer.hessian);
  const at::Tensor damped = damp(layer.hessian, 0.01).matrix;
  for (const SparsityPattern& pattern : all_patterns()) {
    INFO(describe(pattern));
    const auto [keep, weight, error] = sparsegpt(layer.weight, factor, pattern);
    CHECK(error ==
          Approx(output_energy(weight - layer.weight, relative_hessian(damped))).epsilon(1e-3));
    const at::Tensor plain = layer.weight * keep_mask(layer.weight, {}, MagnitudeMask{}, pattern);
    // Measured 0.35 to 0.75; the coarser the tiles, the less is left to choose.
    CHECK(error < 0.85 * output_energy(plain - layer.weight, relative_hessian(damped)));
  }
}

TEST_CASE("inputs that were always zero lose their weights first", "[sparsegpt]") {
  CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  for (const std::int64_t dead : {3, 100, 231}) {
    layer.hessian.select(0, dead).zero_();
    layer.hessian.select(1, dead).zero_();
    layer.weight.select(1, dead).fill_(5);
  }
  const InverseFactor factor = factor_of(layer.hessian);
  for (const SparsityPattern& pattern : all_patterns()) {
    INFO(describe(pattern));
    if (std::holds_alternative<Blocks>(pattern) && std::get<Blocks>(pattern).columns > 1) continue;
    const at::Tensor keep = sparsegpt(layer.weight, factor, pattern).keep;
    for (const std::int64_t dead : {3, 100, 231}) CHECK(count_kept(keep.select(1, dead)) == 0);
  }
}

TEST_CASE("SparseGPT gives the same bytes for any number of threads", "[sparsegpt][property]") {
  const CompensatedLayer layer = make_compensated_layer(150, kColumns);
  const InverseFactor factor = factor_of(layer.hessian);
  const int before = at::get_num_threads();
  for (const SparsityPattern& pattern : all_patterns()) {
    INFO(describe(pattern));
    at::set_num_threads(1);
    const SparseWeight one = sparsegpt(layer.weight, factor, pattern);
    for (const int threads : {2, 3}) {
      at::set_num_threads(threads);
      const SparseWeight other = sparsegpt(layer.weight, factor, pattern);
      CHECK(at::equal(one.keep, other.keep));
      CHECK(at::equal(one.weight, other.weight));
      CHECK(one.output_error == other.output_error);
    }
  }
  at::set_num_threads(before);
}

TEST_CASE("SparseGPT refuses what it cannot do", "[sparsegpt]") {
  CompensatedLayer layer = make_compensated_layer(5, 30);
  const InverseFactor factor = factor_of(layer.hessian);
  const auto kind = [&](const SparsityPattern& pattern) {
    try {
      sparsegpt(layer.weight, factor, pattern);
    } catch (const Error& error) {
      return error.kind();
    }
    FAIL("accepted");
    return ErrorKind::Usage;
  };
  CHECK(kind(NofM{.keep = 2, .of = 4}) == ErrorKind::Unsupported);
  layer.weight[3][7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(kind(PerRow{0.5}) == ErrorKind::Numeric);
}

}  // namespace
}  // namespace edgecompress
