#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "panel_sparse/panel_sparse_matrix.h"
#include "random_matrix.h"
#include "support/catch.h"

namespace edgecompress {

TEST_CASE("unpacking gives back what was packed, in every form", "[panel_sparse]") {
  std::uint32_t seed = 1;
  for (const PanelSparseForm& form : all_forms()) {
    for (const double density : {0.0, 0.3, 1.0}) {
      CAPTURE(form, density, seed);
      const RandomMatrix matrix = random_matrix(form, 37, 2 * form.group + 19, density, seed++);
      const std::vector<std::uint8_t> blob = matrix.pack();
      const PanelSparseView view = open_panel_sparse(blob);
      CHECK(view.rows == matrix.rows);
      CHECK(view.columns == matrix.columns);
      const DenseCodes back = unpack_panel_sparse(view);
      CHECK(back.codes == matrix.dense.codes);
      CHECK(back.scales == matrix.dense.scales);
      CHECK(back.keep == matrix.dense.keep);
    }
  }
  REQUIRE(seed > 100);
}

TEST_CASE("a matrix packed in pieces is the matrix packed whole, and its size is known before",
          "[panel_sparse]") {
  constexpr std::int64_t kRows = 150;
  std::uint32_t seed = 1;
  for (const PanelSparseForm& form : all_forms()) {
    CAPTURE(form, seed);
    const RandomMatrix matrix = random_matrix(form, kRows, form.group + 21, 0.4, seed++);
    const std::int64_t columns = matrix.columns;
    const std::int64_t scale_groups = std::ssize(matrix.dense.scales) / kRows;
    PanelSparseIndex index;
    std::vector<std::uint8_t> codes;
    PanelSparseSize size;
    const auto append = [](auto& to, const auto& more) {
      to.insert(to.end(), more.begin(), more.end());
    };
    for (std::int64_t begin = 0; begin < kRows; begin += 64) {
      const std::int64_t rows = std::min<std::int64_t>(64, kRows - begin);
      const auto of = [&](const auto& all, std::int64_t width) {
        return std::span(all).subspan(static_cast<std::size_t>(begin * width),
                                      static_cast<std::size_t>(rows * width));
      };
      const auto keep = of(matrix.dense.keep, columns);
      const PanelSparseIndex piece =
          pack_index(form, rows, columns, of(matrix.dense.scales, scale_groups), keep);
      append(index.bitmaps, piece.bitmaps);
      append(index.scales, piece.scales);
      append(index.panel_code_bytes, piece.panel_code_bytes);
      append(codes, pack_codes(form, rows, columns, of(matrix.dense.codes, columns), keep));
      const PanelSparseSize more = panel_sparse_size(form, rows, columns, keep);
      size.stored_weights += more.stored_weights;
      size.code_bytes += more.code_bytes;
    }
    std::vector<std::uint8_t> blob = pack_front(form, kRows, columns, index);
    append(blob, codes);
    append(blob, std::vector<std::uint8_t>(kPanelSparseSlack));
    CHECK((blob == matrix.pack()));
    CHECK(panel_sparse_bytes(form, kRows, columns, size.code_bytes) == std::ssize(blob));
    CHECK(size.stored_weights ==
          std::accumulate(matrix.dense.keep.begin(), matrix.dense.keep.end(), std::int64_t{0}));
  }
  REQUIRE(seed > 30);
}

TEST_CASE("a weight that is not kept counts as zero, and its column is stored when a neighbour is",
          "[panel_sparse]") {
  const PanelSparseForm form{.bits = 8, .shared_rows = 4, .group = 32};
  RandomMatrix matrix = random_matrix(form, 4, 32, 0, 1);
  std::iota(matrix.dense.codes.begin(), matrix.dense.codes.end(), std::int8_t{-60});
  matrix.dense.keep[2 * 32 + 5] = 1;  // row 2, column 5
  const std::vector<std::uint8_t> blob = matrix.pack();
  const DenseCodes back = unpack_panel_sparse(open_panel_sparse(blob));
  for (std::size_t i = 0; i < back.codes.size(); ++i) {
    CAPTURE(i);
    CHECK(int{back.keep[i]} == (i % 32 == 5 ? 1 : 0));
    CHECK(int{back.codes[i]} == (i == 2 * 32 + 5 ? int{matrix.dense.codes[i]} : 0));
  }
}

TEST_CASE("half of an INT4 matrix costs about half the bytes", "[panel_sparse]") {
  // 64 rows x 4096 columns, exactly half of the columns of each panel kept, binary16 scales per
  // 128.
  struct Case {
    int shared_rows, column_block;
    double most;  // bytes per weight: codes 0.25, scales 2 / 128, bitmap 1 / (8 * rows * block),
                  // starts
  };
  const Case each = GENERATE(Case{16, 4, 0.25 + 0.0157 + 0.0020 + 0.0025},
                             Case{16, 1, 0.25 + 0.0157 + 0.0079 + 0.0025},
                             Case{1, 1, 0.25 + 0.0157 + 0.1250 + 0.0025});
  const PanelSparseForm form{.bits = 4,
                             .shared_rows = each.shared_rows,
                             .column_block = each.column_block,
                             .group = 128,
                             .scale_type = ScaleType::Float16};
  RandomMatrix matrix = random_matrix(form, 64, 4096, 1, 3);
  for (std::size_t i = 0; i < matrix.dense.keep.size(); ++i) {
    matrix.dense.keep[i] = i / 4 % 2 == 0 ? 1 : 0;
  }
  const auto bytes = static_cast<double>(matrix.pack().size());
  CHECK(bytes / (64 * 4096) < each.most);
  CHECK(bytes / (64 * 4096) > each.most - 0.004);
}

TEST_CASE("a packer refuses what the format cannot hold", "[panel_sparse]") {
  RandomMatrix matrix = random_matrix({.bits = 4, .group = 32}, 16, 32, 1, 5);
  const auto words = [&] {
    try {
      matrix.pack();
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::Unsupported);
      return std::string(error.what());
    }
    return std::string("packed");
  };
  SECTION("a code beyond 4 bits") {
    matrix.dense.codes[7] = 8;
    CHECK(words().find("code 8 does not fit") != std::string::npos);
  }
  SECTION("a scale beyond binary16") {
    matrix.form.scale_type = ScaleType::Float16;
    matrix.dense.scales[3] = 1e6F;
    CHECK(words().find("of row 3") != std::string::npos);
  }
  SECTION("a form that is not defined") {
    matrix.form.shared_rows = 2;
    CHECK(words().find("shared_rows is 2") != std::string::npos);
  }
  SECTION("blocks of four columns with fewer shared rows") {
    matrix.form.shared_rows = 8;
    matrix.form.column_block = 4;
    CHECK(words().find("column_block") != std::string::npos);
  }
  SECTION("a group between the known ones") {
    matrix.form.group = 96;
    CHECK(words().find("group is 96") != std::string::npos);
  }
}

}  // namespace edgecompress
