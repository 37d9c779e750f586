#include "pipeline/cut_target.h"

#include <cmath>
#include <optional>

#include "base/error.h"

namespace edgecompress {
namespace {

constexpr int kFinest = 1000;  // ratios that are tried lie a thousandth apart

StructuredCut with_ratio(StructuredCut cut, int thousandths) {
  cut.target = StructuredTarget::Parameters;
  cut.ratio = static_cast<double>(thousandths) / kFinest;
  return cut;
}

/// The first of [begin, end) for which `holds`, or end; it holds for all behind the first.
template <typename Predicate>
int first_that(int begin, int end, const Predicate& holds) {
  while (begin < end) {
    const int middle = begin + (end - begin) / 2;
    if (holds(middle)) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  return begin;
}

}  // namespace

StructuredCut cut_for_bytes(
    const StructuredCut& cut, std::int64_t bytes,
    const std::function<std::int64_t(const StructuredCut& cut)>& bytes_left) {
  const auto left = [&](int thousandths) -> std::optional<std::int64_t> {
    try {
      return bytes_left(with_ratio(cut, thousandths));
    } catch (const Error& error) {
      if (error.code() != "U2") throw;
      return std::nullopt;
    }
  };
  const int end = first_that(1, kFinest, [&](int ratio) { return !left(ratio); });
  const double goal = (1 - cut.ratio) * static_cast<double>(bytes);
  const int found =
      first_that(1, end, [&](int ratio) { return static_cast<double>(*left(ratio)) <= goal; });
  if (found < end) return with_ratio(cut, found);
  const double least = end > 1 ? static_cast<double>(*left(end - 1)) : static_cast<double>(bytes);
  throw Error(ErrorKind::Unsupported, "U2",
              concat("a removal ratio of ", cut.ratio, " of the bytes is out of reach: at most ",
                     std::floor((1 - least / static_cast<double>(bytes)) * 1e4) / 1e4,
                     " can go, as a cut leaves the embedding and the head"));
}

}  // namespace edgecompress
