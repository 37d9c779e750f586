// docs/sparse-format.md holds a matrix and its bytes; both must be what this library makes of each
// other.
#include <array>
#include <fstream>
#include <sstream>

#include "panel_sparse/panel_sparse_matrix.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

/// The lines of the document between ```name and ```.
std::vector<std::string> block(const std::string& name) {
  std::ifstream in(EDGECOMPRESS_SOURCE_DIR "/docs/sparse-format.md");
  std::vector<std::string> lines;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "```") inside = false;
    if (inside) lines.push_back(line);
    if (line == "```" + name) inside = true;
  }
  return lines;
}

constexpr std::int64_t kRows = 4;
constexpr std::int64_t kColumns = 40;

}  // namespace

TEST_CASE("the documented example packs to the documented bytes", "[panel_sparse]") {
  std::vector<std::int8_t> codes(kRows * kColumns);
  std::vector<std::uint8_t> keep(kRows * kColumns);
  for (const std::string& line : block("weights")) {
    std::istringstream in(line);
    std::size_t column = 0;
    char colon = 0;
    in >> column >> colon;
    for (std::size_t row = 0; row < kRows; ++row) {
      int code = 0;
      REQUIRE(in >> code);
      codes.at(row * kColumns + column) = static_cast<std::int8_t>(code);
      keep.at(row * kColumns + column) = 1;
    }
  }
  std::array<std::vector<float>, kRows> by_row;
  for (const std::string& line : block("scales")) {
    std::istringstream in(line);
    for (std::vector<float>& row : by_row) REQUIRE(in >> row.emplace_back());
  }
  std::vector<float> scales;
  for (const std::vector<float>& row : by_row) scales.insert(scales.end(), row.begin(), row.end());
  std::vector<std::uint8_t> documented;
  for (const std::string& line : block("hex")) {
    std::istringstream in(line);
    std::string address;
    in >> address;
    CHECK(std::stoul(address, nullptr, 16) == documented.size());
    for (unsigned byte = 0; in >> std::hex >> byte;) {
      documented.push_back(static_cast<std::uint8_t>(byte));
    }
  }
  REQUIRE(documented.size() > 256);

  const PanelSparseForm form{
      .bits = 4, .shared_rows = 4, .group = 32, .scale_type = ScaleType::Float16};
  CHECK(pack_panel_sparse(form, kRows, kColumns, codes, scales, keep) == documented);
  const DenseCodes back = unpack_panel_sparse(open_panel_sparse(documented));
  CHECK(back.codes == codes);
  CHECK(back.keep == keep);
  CHECK(back.scales == scales);
}

}  // namespace edgecompress
