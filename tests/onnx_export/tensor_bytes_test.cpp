#include "onnx_export/tensor_bytes.h"

#include <cstring>

#include "support/catch.h"
#include "weights/code_packing.h"

using namespace edgecompress;

namespace {

/// Codes, scales and zero points that differ at every position, with their tensors in the layout of
/// a checkpoint.
class MadeMatrix {
 public:
  MadeMatrix(std::int64_t rows, std::int64_t columns, QuantScheme scheme, DType stored)
      : rows_(rows), columns_(columns), scheme_(scheme), groups_(scheme.groups_per_row(columns)) {
    const int levels = 1 << scheme.bits;
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      codes_.push_back(
          static_cast<std::int8_t>((i * 7 + i / columns * 3) % levels + scheme.qmin()));
    }
    for (std::int64_t i = 0; i < rows * groups_; ++i) {
      scales_.push_back(0.25F + static_cast<float>(i));
      zero_points_.push_back(static_cast<std::int8_t>((i * 5 + 1) % levels + scheme.qmin()));
    }
    store_codes(stored);
    scale_entry_ = entry(DType::F32, {rows, groups_}, scales_);
    zero_entry_ = entry(DType::I8, {rows, groups_}, zero_points_);
  }

  StackedMatrix stacked() const { return {.modules = {"m"}, .parts = {stored()}}; }
  StoredQuantizedMatrix stored() const {
    const bool asymmetric = scheme_.symmetry == Symmetry::Asymmetric;
    return {.shape = {.out_features = rows_, .in_features = columns_},
            .scheme = scheme_,
            .codes = &code_entry_,
            .scales = &scale_entry_,
            .zero_points = asymmetric ? &zero_entry_ : nullptr};
  }
  int code(std::int64_t row, std::int64_t column) const {
    return codes_[static_cast<std::size_t>(row * columns_ + column)];
  }
  float scale(std::int64_t row, std::int64_t group) const {
    return scales_[static_cast<std::size_t>(row * groups_ + group)];
  }
  int zero_point(std::int64_t row, std::int64_t group) const {
    return zero_points_[static_cast<std::size_t>(row * groups_ + group)];
  }

 private:
  template <typename T>
  static TensorEntry entry(DType dtype, std::vector<std::int64_t> shape,
                           const std::vector<T>& from) {
    return {.name = "t",
            .dtype = dtype,
            .shape = std::move(shape),
            .bytes = std::as_bytes(std::span(from))};
  }
  void store_codes(DType stored) {
    if (stored == DType::I8) {
      code_entry_ = entry(DType::I8, {rows_, columns_}, codes_);
      return;
    }
    const auto row_bytes = static_cast<std::size_t>(packed_row_bytes(columns_, scheme_.bits));
    packed_.resize(row_bytes * static_cast<std::size_t>(rows_));
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows_); ++row) {
      const auto width = static_cast<std::size_t>(columns_);
      pack_codes(std::span(codes_).subspan(row * width, width), scheme_.bits,
                 std::span(packed_).subspan(row * row_bytes, row_bytes));
    }
    code_entry_ = entry(DType::I32, {rows_, static_cast<std::int64_t>(row_bytes / 4)}, packed_);
  }

  std::int64_t rows_;
  std::int64_t columns_;
  QuantScheme scheme_;
  std::int64_t groups_;
  std::vector<std::int8_t> codes_;
  std::vector<std::byte> packed_;
  std::vector<float> scales_;
  std::vector<std::int8_t> zero_points_;
  TensorEntry code_entry_{};
  TensorEntry scale_entry_{};
  TensorEntry zero_entry_{};
};

std::vector<std::byte> all_bytes(const ByteSource& source) {
  std::vector<std::byte> bytes;
  source([&](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

std::vector<float> all_floats(const ByteSource& source) {
  const std::vector<std::byte> bytes = all_bytes(source);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Unsigned element `index` of packed `bits`-wide elements, low bits first.
int element(std::span<const std::byte> bytes, std::int64_t index, int bits) {
  const auto byte = std::to_integer<int>(bytes[static_cast<std::size_t>(index * bits / 8)]);
  return byte >> (index * bits % 8) & ((1 << bits) - 1);
}

int signed_element(std::span<const std::byte> bytes, std::int64_t index, int bits) {
  const int value = element(bytes, index, bits);
  return value >= 1 << (bits - 1) ? value - (1 << bits) : value;
}

}  // namespace

TEST_CASE(
    "a block of MatMulNBits holds codes above 2^(bits-1), and the zero point past the row's end",
    "[onnx_export]") {
  const int bits = GENERATE(4, 8);
  const DType stored = GENERATE(DType::I8, DType::I32);
  const std::int64_t columns = GENERATE(64, 50);
  const std::int64_t rows = 70;
  const QuantScheme scheme{.bits = bits, .group_size = 16, .symmetry = Symmetry::Asymmetric};
  const MadeMatrix made(rows, columns, scheme, stored);
  const BlockGrid grid = nbits_grid(scheme, columns, "m");
  REQUIRE(grid.blocks == 4);

  const auto bytes = all_bytes(nbits_codes(made.stacked(), grid, 2));
  const std::int64_t width = grid.blocks * grid.block;
  REQUIRE(std::ssize(bytes) == rows * width * bits / 8);
  std::int64_t wrong = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < width; ++column) {
      const int expected = column < columns ? made.code(row, column) : made.zero_point(row, 3);
      wrong += element(bytes, row * width + column, bits) != expected + (1 << (bits - 1));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("zero points of MatMulNBits are packed along the blocks, each row from a whole byte",
          "[onnx_export]") {
  const int bits = GENERATE(4, 8);
  const QuantScheme scheme{.bits = bits, .group_size = 16, .symmetry = Symmetry::Asymmetric};
  const MadeMatrix made(20, 48, scheme, DType::I8);
  const BlockGrid grid = nbits_grid(scheme, 48, "m");
  const auto bytes = all_bytes(nbits_zero_points(made.stacked(), grid, 2));
  const std::int64_t row_bytes = bits == 4 ? 2 : 3;
  REQUIRE(std::ssize(bytes) == 20 * row_bytes);
  for (std::int64_t row = 0; row < 20; ++row) {
    for (std::int64_t block = 0; block < 3; ++block) {
      CHECK(element(bytes, row * row_bytes * 8 / bits + block, bits) ==
            made.zero_point(row, block) + (1 << (bits - 1)));
    }
    if (bits == 4) CHECK(element(bytes, row * 4 + 3, 4) == 0);
  }
}

TEST_CASE("the scale of a row is repeated for each of its blocks", "[onnx_export]") {
  const QuantScheme scheme{.bits = 8};
  const MadeMatrix made(5, 96, scheme, DType::I8);
  const BlockGrid grid = nbits_grid(scheme, 96, "m");
  REQUIRE(grid.blocks == 3);
  const auto scales = all_floats(nbits_scales(made.stacked(), grid, 1));
  REQUIRE(scales.size() == 15);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    CHECK(scales[i] == made.scale(static_cast<std::int64_t>(i) / 3, 0));
  }
}

TEST_CASE("the scale of a group is its block's", "[onnx_export]") {
  const QuantScheme scheme{.bits = 4, .group_size = 32};
  const MadeMatrix made(5, 96, scheme, DType::I32);
  const auto scales = all_floats(nbits_scales(made.stacked(), nbits_grid(scheme, 96, "m"), 1));
  REQUIRE(scales.size() == 15);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    CHECK(scales[i] ==
          made.scale(static_cast<std::int64_t>(i) / 3, static_cast<std::int64_t>(i) % 3));
  }
}

TEST_CASE("codes are transposed strip by strip", "[onnx_export]") {
  // Rows so many that a strip of 32 MiB holds 16 columns only, and the last strip fewer.
  constexpr std::int64_t kRows = 1'100'000;
  constexpr std::int64_t kColumns = 18;
  const DType stored = GENERATE(DType::I8, DType::I32);
  const MadeMatrix made(kRows, kColumns, {.bits = 4}, stored);
  const auto codes = all_bytes(transposed_codes(made.stacked(), 2));
  REQUIRE(std::ssize(codes) == kRows * kColumns / 2);
  std::int64_t wrong = 0;
  for (std::int64_t column = 0; column < kColumns; ++column) {
    for (std::int64_t row = 0; row < kRows; ++row) {
      wrong += signed_element(codes, column * kRows + row, 4) != made.code(row, column);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("transposed codes, scales and zero points stand where DequantizeLinear reads them",
          "[onnx_export]") {
  const int bits = GENERATE(4, 8);
  const DType stored = GENERATE(DType::I8, DType::I32);
  const std::int64_t rows = GENERATE(70, 33);  // an odd count splits bytes between columns
  const std::int64_t columns = 50;
  const QuantScheme scheme{.bits = bits, .group_size = 25, .symmetry = Symmetry::Asymmetric};
  const MadeMatrix made(rows, columns, scheme, stored);
  const BlockGrid grid = dequantize_grid(scheme, columns);

  const auto codes = all_bytes(transposed_codes(made.stacked(), 2));
  REQUIRE(std::ssize(codes) == (rows * columns * bits + 7) / 8);
  std::int64_t wrong = 0;
  for (std::int64_t column = 0; column < columns; ++column) {
    for (std::int64_t row = 0; row < rows; ++row) {
      wrong += signed_element(codes, column * rows + row, bits) != made.code(row, column);
    }
  }
  CHECK(wrong == 0);

  const auto scales = all_floats(transposed_scales(made.stacked(), grid, 2));
  const auto zeros = all_bytes(transposed_zero_points(made.stacked(), grid, 2));
  REQUIRE(std::ssize(scales) == 2 * rows);
  for (std::int64_t i = 0; i < 2 * rows; ++i) {
    CHECK(scales[static_cast<std::size_t>(i)] == made.scale(i % rows, i / rows));
    CHECK(signed_element(zeros, i, bits) == made.zero_point(i % rows, i / rows));
  }
}

TEST_CASE("stacked matrices follow each other by rows, in columns too", "[onnx_export]") {
  const QuantScheme scheme{.bits = 8, .group_size = 16};
  const MadeMatrix first(3, 32, scheme, DType::I8);
  const MadeMatrix second(2, 32, scheme, DType::I32);
  const StackedMatrix both{.modules = {"a", "b"}, .parts = {first.stored(), second.stored()}};
  CHECK(both.rows() == 5);
  const auto by_row = all_bytes(row_codes(both, 1));
  const auto by_column = all_bytes(transposed_codes(both, 1));
  for (std::int64_t row = 0; row < 5; ++row) {
    for (std::int64_t column = 0; column < 32; ++column) {
      const int expected = row < 3 ? first.code(row, column) : second.code(row - 3, column);
      CHECK(signed_element(by_row, row * 32 + column, 8) == expected);
      CHECK(signed_element(by_column, column * 5 + row, 8) == expected);
    }
  }
}

TEST_CASE("a float matrix is transposed strip by strip whatever it is stored as", "[onnx_export]") {
  // Rows so many that a strip of 32 MiB holds 16 columns only, and the last strip fewer.
  constexpr std::int64_t kRows = 400'000;
  constexpr std::int64_t kColumns = 18;
  std::vector<std::uint16_t> halves(kRows * kColumns);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    halves[i] = static_cast<std::uint16_t>(i * 31 % 0x7C00);  // every finite half above 0 once
  }
  const TensorEntry entry{.name = "w",
                          .dtype = DType::F16,
                          .shape = {kRows, kColumns},
                          .bytes = std::as_bytes(std::span(halves))};
  const StackedMatrix matrix{.modules = {"w"}, .parts = {FloatMatrix{&entry}}};
  const auto rows = all_floats(row_floats(matrix, 1));
  const auto columns = all_floats(transposed_floats(matrix, 2));
  REQUIRE(rows.size() == halves.size());
  REQUIRE(columns.size() == halves.size());
  CHECK(rows[1] == 31 * 0x1p-24F);  // the half 0x001F is subnormal: 31 steps of 2^-24
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    wrong += rows[i] != columns[i % kColumns * kRows + i / kColumns];
  }
  CHECK(wrong == 0);
}

TEST_CASE("bytes do not depend on the number of threads", "[onnx_export]") {
  const QuantScheme scheme{.bits = 4, .group_size = 16, .symmetry = Symmetry::Asymmetric};
  const MadeMatrix made(1037, 72, scheme, DType::I32);
  const BlockGrid grid = nbits_grid(scheme, 72, "m");
  const auto same = [&](auto&& source) { CHECK(all_bytes(source(1)) == all_bytes(source(3))); };
  same([&](int threads) { return nbits_codes(made.stacked(), grid, threads); });
  same([&](int threads) { return nbits_scales(made.stacked(), grid, threads); });
  same([&](int threads) { return nbits_zero_points(made.stacked(), grid, threads); });
  same([&](int threads) { return transposed_codes(made.stacked(), threads); });
  same([&](int threads) { return row_floats(made.stacked(), threads); });
}
