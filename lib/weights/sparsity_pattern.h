#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace edgecompress {

/// Any weight of the whole matrix may go.
struct Unstructured {
  double sparsity = 0.5;  ///< share of weights dropped, 0..1
  friend bool operator==(const Unstructured&, const Unstructured&) = default;
};
/// The same share goes from every row.
struct PerRow {
  double sparsity = 0.5;
  friend bool operator==(const PerRow&, const PerRow&) = default;
};
/// Exactly `keep` of every `of` consecutive weights along in_features stay.
struct NofM {
  std::int64_t keep = 2;
  std::int64_t of = 4;
  friend bool operator==(const NofM&, const NofM&) = default;
};
/// Tiles of rows x columns are kept or dropped whole; within every strip of `rows` rows the same
/// number goes.
struct Blocks {
  std::int64_t rows = 16;
  std::int64_t columns = 1;
  double sparsity = 0.5;
  friend bool operator==(const Blocks&, const Blocks&) = default;
};

/// Which weights may be dropped together.
using SparsityPattern = std::variant<Unstructured, PerRow, NofM, Blocks>;

/// "unstructured 50%", "per-row 50%", "2:4", "16x1 40%".
std::string describe(const SparsityPattern& pattern);

/// The share of weights the pattern drops, 0..1.
double target_sparsity(const SparsityPattern& pattern);

}  // namespace edgecompress
