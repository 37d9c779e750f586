#include <cstring>

#include "base/error.h"
#include "panel_sparse/multiply.h"
#include "random_matrix.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Blob = std::vector<std::uint8_t>;

template <typename T>
void put(Blob& blob, std::size_t at, T value) {
  std::memcpy(blob.data() + at, &value, sizeof value);
}

/// The kind and text of the refusal.
struct Refusal {
  ErrorKind kind;
  std::string words;
};

Refusal refusal_of(const Blob& blob) {
  try {
    open_panel_sparse(blob);
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  return {ErrorKind::Usage, "not refused"};
}

/// 20 rows in 2 panels, 70 columns in 2 groups: starts at 64, bitmaps at 128, scales at 192, codes
/// at 320.
RandomMatrix small_matrix() {
  return random_matrix({.bits = 8, .group = 64, .scale_type = ScaleType::Float16}, 20, 70, 0.5, 4);
}

}  // namespace

TEST_CASE("a blob that lies is refused with the lie", "[panel_sparse]") {
  struct Lie {
    void (*tell)(Blob&);
    ErrorKind kind;
    const char* words;
  };
  const Lie lie = GENERATE(values<Lie>({
      {[](Blob& b) { b.resize(63); }, ErrorKind::Malformed, "needs 64 bytes, there are 63"},
      {[](Blob& b) { b[3] = 'x'; }, ErrorKind::Malformed, "does not begin with ECPANEL"},
      {[](Blob& b) { put(b, 8, std::uint32_t{2}); }, ErrorKind::Unsupported, "format version 2"},
      {[](Blob& b) { b[12] = 3; }, ErrorKind::Unsupported, "bits is 3"},
      {[](Blob& b) { b[13] = 2; }, ErrorKind::Unsupported, "shared_rows is 2"},
      {[](Blob& b) { b[14] = 2; }, ErrorKind::Unsupported, "column_block is 2"},
      {[](Blob& b) { b[15] = 2; }, ErrorKind::Unsupported, "scale_type is 2"},
      {[](Blob& b) { put(b, 16, std::uint64_t{0}); }, ErrorKind::Malformed, "claims 0 rows"},
      {[](Blob& b) { put(b, 16, ~std::uint64_t{0}); }, ErrorKind::Malformed, "claims -1 rows"},
      {[](Blob& b) { put(b, 16, std::uint64_t{1} << 62); }, ErrorKind::Malformed, "rows"},
      {[](Blob& b) { put(b, 16, std::uint64_t{33}); }, ErrorKind::Malformed, "needs"},
      {[](Blob& b) { put(b, 24, std::uint64_t{1} << 30); }, ErrorKind::Malformed, "needs"},
      {[](Blob& b) { put(b, 24, std::uint64_t{65}); }, ErrorKind::Malformed, "beyond the last"},
      {[](Blob& b) { put(b, 32, std::uint32_t{0}); }, ErrorKind::Unsupported, "group is 0"},
      {[](Blob& b) { put(b, 32, ~std::uint32_t{0}); }, ErrorKind::Unsupported, "group is"},
      {[](Blob& b) { put(b, 36, std::uint32_t{0}); }, ErrorKind::Unsupported, "groups_per_scale"},
      {[](Blob& b) { put(b, 40, ~std::uint64_t{0}); }, ErrorKind::Malformed, "needs"},
      {[](Blob& b) { b[50] = 1; }, ErrorKind::Malformed, "reserved bytes"},
      {[](Blob& b) { put(b, 64, std::uint64_t{1}); }, ErrorKind::Malformed, "begin at 0"},
      {[](Blob& b) { put(b, 72, ~std::uint64_t{0}); }, ErrorKind::Malformed, "panel 0 claims"},
      {[](Blob& b) { put(b, 80, std::uint64_t{1}); }, ErrorKind::Malformed, "begin at 0"},
      {[](Blob& b) { b[128] ^= 1; }, ErrorKind::Malformed, "the bitmaps of panel 0 need"},
      {[](Blob& b) { put(b, 192, std::uint16_t{0x7C00}); }, ErrorKind::Malformed, "scale 0"},
      {[](Blob& b) { b.pop_back(); }, ErrorKind::Malformed, "needs"},
      {[](Blob& b) { b.push_back(0); }, ErrorKind::Malformed, "needs"},
  }));
  Blob blob = small_matrix().pack();
  REQUIRE(refusal_of(blob).words == "not refused");
  lie.tell(blob);
  const Refusal refusal = refusal_of(blob);
  CAPTURE(refusal.words, lie.words);
  CHECK(refusal.words.find(lie.words) != std::string::npos);
  CHECK(refusal.kind == lie.kind);
}

TEST_CASE("a blob with changed bytes is refused or computes without reading beyond it",
          "[panel_sparse]") {
  std::mt19937 random(20);
  int refused = 0;
  int accepted = 0;
  for (const PanelSparseForm& form : all_forms()) {
    const Blob whole =
        random_matrix(form, 21, form.group + 9, 0.4, static_cast<std::uint32_t>(random())).pack();
    for (int round = 0; round < 40; ++round) {
      Blob blob = whole;
      const std::size_t end =
          round % 2 == 0 ? 64 : blob.size();  // every second change hits the header
      for (int change = 0; change < 1 + round % 3; ++change) {
        blob[random() % end] ^= static_cast<std::uint8_t>(1U << random() % 8);
      }
      try {
        const PanelSparseView view = open_panel_sparse(blob);
        const std::vector<float> x(static_cast<std::size_t>(3 * view.columns), 0.5F);
        std::vector<float> y(static_cast<std::size_t>(3 * view.rows));
        for (const InstructionSet set : supported_instruction_sets()) {
          multiply_panel_sparse(view, set, x, y);
        }
        ++accepted;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(refused > 500);
  CHECK(accepted > 100);
}

}  // namespace edgecompress
