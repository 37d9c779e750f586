#include "tokenizer/sentencepiece_size.h"

namespace edgecompress {
namespace {

/// Reads protobuf's base-128 integers front to back.
class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  bool at_end() const { return rest_.empty(); }

  std::optional<std::uint64_t> number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return std::nullopt;
      const auto byte = static_cast<std::uint64_t>(rest_.front());
      rest_ = rest_.subspan(1);
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  bool skip(std::uint64_t bytes) {
    if (bytes > rest_.size()) return false;
    rest_ = rest_.subspan(bytes);
    return true;
  }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace

std::optional<std::int64_t> sentencepiece_size(std::span<const std::byte> file) {
  constexpr std::uint64_t kVarint = 0;
  constexpr std::uint64_t kLengthDelimited = 2;
  constexpr std::uint64_t kPiece = 1;
  WireReader reader(file);
  std::int64_t pieces = 0;
  while (!reader.at_end()) {
    const std::optional<std::uint64_t> tag = reader.number();
    const std::optional<std::uint64_t> value = tag ? reader.number() : std::nullopt;
    if (!value) return std::nullopt;
    const std::uint64_t kind = *tag & 7;
    if (kind != kVarint && kind != kLengthDelimited) return std::nullopt;
    if (kind == kLengthDelimited && !reader.skip(*value)) return std::nullopt;
    if (*tag >> 3 == kPiece) ++pieces;
  }
  if (pieces == 0) return std::nullopt;
  return pieces;
}

}  // namespace edgecompress
