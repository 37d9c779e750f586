#include "pipeline/stored_steps.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "quantize/rtn.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

// More rows than are quantized at once (1 Mi weights), the last piece short.
constexpr MatrixShape kShape{.out_features = 23001, .in_features = 96};
constexpr int kThreads = 2;

/// Different at every position of a row, and from row to row.
std::vector<float> table_floats() {
  std::vector<float> values(static_cast<std::size_t>(kShape.out_features * kShape.in_features));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = std::sin(static_cast<float>(i)) * (1.0F + static_cast<float>(i % 1009));
  }
  return values;
}

TensorEntry entry_of(const std::vector<float>& values) {
  return {.name = "table.weight",
          .dtype = DType::F32,
          .shape = {kShape.out_features, kShape.in_features},
          .bytes = std::as_bytes(std::span(values))};
}

TEST_CASE("a matrix quantized some rows at a time is the matrix quantized at once", "[pipeline]") {
  const auto symmetry = GENERATE(Symmetry::Symmetric, Symmetry::Asymmetric);
  const QuantScheme scheme{.bits = 8, .group_size = 32, .symmetry = symmetry};
  const std::vector<float> values = table_floats();
  const TensorEntry entry = entry_of(values);
  const NewMatrix stored = quantize_stored(FloatMatrix{&entry}, scheme, RtnOptions{}, kThreads);

  const QuantizedMatrix expected =
      quantize_rtn(values, kShape.out_features, kShape.in_features, scheme, RtnOptions{}, kThreads);
  const auto& found = std::get<QuantizedMatrix>(stored.value);
  CHECK(std::ranges::equal(found.codes(), expected.codes()));
  CHECK(std::ranges::equal(found.scales(), expected.scales()));
  CHECK(std::ranges::equal(found.zero_points(), expected.zero_points()));

  std::vector<float> rounded(values.size());
  expected.dequantize_rows(0, kShape.out_features, rounded);
  const WeightChange change = change_between(values, rounded, kThreads);
  CHECK(stored.change.zeros == change.zeros);
  CHECK(stored.change.count == change.count);
  // The same terms in another order: sums of 256 in float, 32 terms a lane: 32 roundings of 2^-24.
  CHECK_THAT(stored.change.relative_error(),
             Catch::Matchers::WithinRel(change.relative_error(), 2e-6));
}

TEST_CASE("a matrix that stays float is stored as it was", "[pipeline]") {
  const std::vector<float> values = table_floats();
  const TensorEntry entry = entry_of(values);
  const NewMatrix stored = keep_stored(FloatMatrix{&entry}, kThreads);
  CHECK(std::get<std::vector<float>>(stored.value) == values);
  CHECK(stored.change.relative_error() == 0);
  CHECK(stored.change.zeros == 1);  // sin(0)
}

}  // namespace
}  // namespace edgecompress
