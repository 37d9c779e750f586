#include "panel_sparse/multiply.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "random_matrix.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Floats = std::vector<float>;

Floats random_inputs(std::int64_t tokens, std::int64_t columns, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats x(static_cast<std::size_t>(tokens * columns));
  for (float& value : x) value = normal(random);
  return x;
}

Floats multiply(const PanelSparseView& view, InstructionSet set, const Floats& x) {
  Floats y(x.size() / static_cast<std::size_t>(view.columns) * static_cast<std::size_t>(view.rows),
           std::numeric_limits<float>::quiet_NaN());
  multiply_panel_sparse(view, set, x, y);
  return y;
}

/// One output of the dense matrix in double, and the sum of its terms' magnitudes.
struct Expected {
  double value = 0;
  double magnitude = 0;
};

/// Takes the input of token and column from `input`.
template <typename Input>
Expected dense_output(const RandomMatrix& matrix, std::int64_t row, Input&& input) {
  Expected sum;
  const std::int64_t groups = (matrix.columns + matrix.form.group - 1) / matrix.form.group;
  const std::int64_t scale_groups = std::ssize(matrix.dense.scales) / matrix.rows;
  for (std::int64_t column = 0; column < matrix.columns; ++column) {
    const std::int64_t group = column / matrix.form.group;
    const std::int64_t per_scale = std::min(matrix.form.groups_per_scale, groups);
    const double scale =
        matrix.dense.scales[static_cast<std::size_t>(row * scale_groups + group / per_scale)];
    const double term =
        scale * matrix.dense.codes[static_cast<std::size_t>(row * matrix.columns + column)] *
        input(column);
    sum.value += term;
    sum.magnitude += std::abs(term);
  }
  return sum;
}

struct Shape {
  std::int64_t rows, columns, tokens;
  double density;
};

/// Rows that do and do not fill their panels, columns that do and do not fill their groups, all
/// tile sizes of kernels, and for one token matrices in which a kernel may look beyond a group.
std::vector<Shape> shapes_for(const PanelSparseForm& form) {
  const std::int64_t group = form.group;
  return {{16, group, 1, 0.5},          {37, 2 * group + 19, 11, 0.5}, {5, 3 * group, 3, 1.0},
          {33, group - 1, 2, 0.0},      {18, 9 * group + 4, 1, 0.25},  {4, 4, 130, 0.7},
          {19, 2 * group + 5, 29, 0.5}, {150, 5 * group + 17, 1, 0.5}, {200, 6 * group, 1, 0.9},
          {130, 7 * group, 1, 0.1}};
}

}  // namespace

TEST_CASE("with float activations the product is the dense one's up to rounding",
          "[panel_sparse]") {
  std::uint32_t seed = 1;
  for (const PanelSparseForm& form : all_forms()) {
    for (const Shape& shape : shapes_for(form)) {
      CAPTURE(form, shape.rows, shape.columns, shape.tokens, shape.density, seed);
      const RandomMatrix matrix =
          random_matrix(form, shape.rows, shape.columns, shape.density, seed);
      const Floats x = random_inputs(shape.tokens, shape.columns, seed++);
      const std::vector<std::uint8_t> blob = matrix.pack();
      const PanelSparseView view = open_panel_sparse(blob);
      Floats y(static_cast<std::size_t>(shape.tokens * shape.rows));
      const std::vector<InstructionSet> sets = supported_instruction_sets();
      const KernelSet kernels = kernels_for(sets[seed % sets.size()]);
      multiply_exact(view, kernels, x, 0, view.panels, y);
      bool close = true;
      for (std::int64_t token = 0; token < shape.tokens; ++token) {
        for (std::int64_t row = 0; row < shape.rows; ++row) {
          const Expected expected = dense_output(matrix, row, [&](std::int64_t column) {
            return x[static_cast<std::size_t>(token * shape.columns + column)];
          });
          // At most group + groups + 2 roundings, each of half a unit in the last place of a
          // partial sum.
          const double bound =
              expected.magnitude * 0x1p-24 * static_cast<double>(form.group + view.groups + 2);
          const double found = y[static_cast<std::size_t>(token * shape.rows + row)];
          close = close && std::abs(found - expected.value) <= bound;
        }
      }
      CHECK(close);
    }
  }
  REQUIRE(seed > 100);
}

TEST_CASE("the scalar kernel computes with rounded activations what the dense matrix would",
          "[panel_sparse]") {
  std::uint32_t seed = 1000;
  for (const PanelSparseForm& form : all_forms()) {
    for (const Shape& shape : shapes_for(form)) {
      CAPTURE(form, shape.rows, shape.columns, shape.tokens, shape.density, seed);
      const RandomMatrix matrix =
          random_matrix(form, shape.rows, shape.columns, shape.density, seed);
      const Floats x = random_inputs(shape.tokens, shape.columns, seed++);
      const std::vector<std::uint8_t> blob = matrix.pack();
      const PanelSparseView view = open_panel_sparse(blob);
      const Floats y = multiply(view, InstructionSet::Scalar, x);
      bool close = true;
      for (std::int64_t token = 0; token < shape.tokens; ++token) {
        const float* const inputs = x.data() + token * shape.columns;
        const auto rounded = [&](std::int64_t column) {  // written apart from the library's own
          const std::int64_t first = column / form.group * form.group;
          float largest = 0;
          for (std::int64_t c = first; c < std::min(shape.columns, first + form.group); ++c) {
            largest = std::max(largest, std::abs(inputs[c]));
          }
          if (largest == 0) return 0.0;
          return std::nearbyint(inputs[column] * (127.0F / largest)) * double{largest / 127.0F};
        };
        std::vector<double> codes(static_cast<std::size_t>(shape.columns));
        for (std::int64_t c = 0; c < shape.columns; ++c)
          codes[static_cast<std::size_t>(c)] = rounded(c);
        for (std::int64_t row = 0; row < shape.rows; ++row) {
          const Expected expected = dense_output(matrix, row, [&](std::int64_t column) {
            return codes[static_cast<std::size_t>(column)];
          });
          // Integers are exact; per group one product of scales, one conversion and one sum are
          // rounded, then at most four sums of lanes.
          const double bound = expected.magnitude * 0x1p-24 * static_cast<double>(view.groups + 8);
          const double found = y[static_cast<std::size_t>(token * shape.rows + row)];
          close = close && std::abs(found - expected.value) <= bound;
        }
      }
      CHECK(close);
    }
  }
  REQUIRE(seed > 1100);
}

TEST_CASE("every instruction set gives the scalar kernel's bits", "[panel_sparse]") {
  std::uint32_t seed = 2000;
  for (const InstructionSet set : supported_instruction_sets()) {
    for (const PanelSparseForm& form : all_forms()) {
      for (const Shape& shape : shapes_for(form)) {
        CAPTURE(static_cast<int>(set), form, shape.rows, shape.columns, shape.tokens, seed);
        const RandomMatrix matrix =
            random_matrix(form, shape.rows, shape.columns, shape.density, seed);
        const Floats x = random_inputs(shape.tokens, shape.columns, seed++);
        const std::vector<std::uint8_t> blob = matrix.pack();
        const PanelSparseView view = open_panel_sparse(blob);
        const Floats expected = multiply(view, InstructionSet::Scalar, x);
        const Floats found = multiply(view, set, x);
        CHECK(std::memcmp(expected.data(), found.data(), expected.size() * sizeof(float)) == 0);
      }
    }
  }
  REQUIRE(seed > 2100);
}

TEST_CASE("extreme codes and inputs do not overflow in any instruction set", "[panel_sparse]") {
  const bool lowest = GENERATE(true, false);
  for (const InstructionSet set : supported_instruction_sets()) {
    for (const PanelSparseForm& form : all_forms()) {
      CAPTURE(static_cast<int>(set), form, lowest);
      RandomMatrix matrix = random_matrix(form, 16, 512, 1, 9);
      const int code = lowest ? -(1 << (form.bits - 1)) : (1 << (form.bits - 1)) - 1;
      std::fill(matrix.dense.codes.begin(), matrix.dense.codes.end(),
                static_cast<std::int8_t>(code));
      std::fill(matrix.dense.scales.begin(), matrix.dense.scales.end(), 1.0F);
      const std::vector<std::uint8_t> blob = matrix.pack();
      const PanelSparseView view = open_panel_sparse(blob);
      const Floats y = multiply(view, set, Floats(512, -127.0F));  // activation scale 1, codes -127
      for (const float value : y) CHECK(value == static_cast<float>(code * -127 * 512));
    }
  }
}

TEST_CASE("inputs that are not finite give NaN, and tiny or zero inputs give zero",
          "[panel_sparse]") {
  const PanelSparseForm form{.bits = 4, .shared_rows = GENERATE(16, 1), .group = 64};
  const RandomMatrix matrix = random_matrix(form, 16, 128, 1, 11);
  const std::vector<std::uint8_t> blob = matrix.pack();
  const PanelSparseView view = open_panel_sparse(blob);
  for (const InstructionSet set : supported_instruction_sets()) {
    CAPTURE(static_cast<int>(set));
    for (const float bad :
         {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::quiet_NaN()}) {
      Floats x(128, 1.0F);
      x[70] = bad;
      for (const float value : multiply(view, set, x)) CHECK(std::isnan(value));
    }
    for (const float small : {0.0F, 1e-40F}) {
      for (const float value : multiply(view, set, Floats(128, small))) CHECK(value == 0.0F);
    }
  }
}

}  // namespace edgecompress
