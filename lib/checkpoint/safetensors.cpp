#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked_math.h"
#include "base/error.h"
#include "checkpoint/file_kind.h"
#include "checkpoint/safetensors_header.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // as the reference implementation

[[noreturn]] void fail(const std::string& code, const std::string& source,
                       const std::string& message) {
  throw Error(ErrorKind::Malformed, code, concat(source, ": ", message));
}

std::string_view header_text(std::span<const std::byte> file, const std::string& source) {
  if (file.size() < kLengthBytes) {
    fail("S1", source,
         concat("the file has ", file.size(), " bytes; a safetensors file has at least 8"));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length == 0) fail("S2", source, "the header is empty");
  // Only a length that cannot be right is a reason to look for another format: a good one may start
  // with any byte.
  const bool plausible = length <= kLongestHeader && length <= file.size() - kLengthBytes;
  if (!plausible) refuse_other_file_kinds(file, source);
  if (length > kLongestHeader) {
    fail("S3", source,
         concat("the first 8 bytes announce a header of ", length, " bytes; at most ",
                kLongestHeader, " are allowed, so this is no safetensors file"));
  }
  if (!plausible) {
    fail("S5", source,
         concat("the header should have ", length, " bytes but only ", file.size() - kLengthBytes,
                " follow; the download may be incomplete"));
  }
  return {reinterpret_cast<const char*>(file.data()) + kLengthBytes,
          static_cast<std::size_t>(length)};
}

/// Product of the dimensions that are not 0, or nothing when it overflows.
std::optional<std::uint64_t> nonzero_product(std::span<const std::int64_t> shape) {
  std::optional<std::uint64_t> product = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension == 0) continue;
    product = checked_multiply(*product, static_cast<std::uint64_t>(dimension));
    if (!product || *product > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
  }
  return product;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t dimension : shape) {
    text += concat(text.size() > 1 ? ", " : "", dimension);
  }
  return text + "]";
}

class Placement {
 public:
  Placement(const HeaderContent& content, std::span<const std::byte> data,
            const std::string& source)
      : content_(content), data_(data), source_(source) {}

  std::vector<TensorEntry> entries() const {
    for (const HeaderEntry& entry : content_.entries) check_size(entry);
    const std::vector<std::size_t> order = byte_order();
    check_tiling(order);
    std::vector<TensorEntry> out;
    out.reserve(order.size());
    for (const std::size_t index : order) out.push_back(placed(content_.entries[index]));
    return out;
  }

 private:
  std::string shown(const HeaderEntry& entry) const {
    return concat("tensor \"", shown_text(content_.name(entry)), "\"");
  }

  void check_size(const HeaderEntry& entry) const {
    const auto shape = content_.shape(entry);
    const bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
    const std::optional<std::uint64_t> product = nonzero_product(shape);
    const std::optional<std::uint64_t> bits =
        product ? checked_multiply(*product, entry.dtype->bits) : std::nullopt;
    if (!bits) {
      fail(empty ? "S20" : "S19", source_,
           concat(shown(entry), " has shape ", shape_text(shape),
                  empty ? ", whose other dimensions overflow" : ", whose element count overflows"));
    }
    const std::uint64_t needed_bits = empty ? 0 : *bits;
    if (needed_bits % 8 != 0) {
      fail("S28", source_,
           concat(shown(entry), " of dtype ", entry.dtype->name, " and shape ", shape_text(shape),
                  " does not end on a whole byte"));
    }
    if (needed_bits / 8 != entry.end - entry.begin) {
      fail("S21", source_,
           concat(shown(entry), " of dtype ", entry.dtype->name, " and shape ", shape_text(shape),
                  " needs ", needed_bits / 8, " bytes, its data_offsets give ",
                  entry.end - entry.begin));
    }
  }

  std::vector<std::size_t> byte_order() const {
    std::vector<std::size_t> order(content_.entries.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const HeaderEntry& first = content_.entries[a];
      const HeaderEntry& second = content_.entries[b];
      if (first.begin != second.begin) return first.begin < second.begin;
      if (first.end != second.end) return first.end < second.end;
      return a < b;
    });
    return order;
  }

  void check_tiling(const std::vector<std::size_t>& order) const {
    std::uint64_t position = 0;
    const HeaderEntry* previous = nullptr;
    for (const std::size_t index : order) {
      const HeaderEntry& entry = content_.entries[index];
      if (entry.begin > position) {
        fail(position == 0 ? "S23" : "S24", source_,
             concat("bytes ", position, " to ", entry.begin, " of the data belong to no tensor; ",
                    shown(entry), " comes next"));
      }
      if (entry.begin < position) {
        fail("S25", source_, concat(shown(*previous), " and ", shown(entry), " overlap"));
      }
      position = entry.end;
      previous = &entry;
    }
    if (position > data_.size()) {
      fail("S27", source_,
           concat("the file is truncated: the tensors need ", position, " bytes of data, it has ",
                  data_.size(), "; download it again"));
    }
    if (position < data_.size()) {
      fail("S26", source_, concat(data_.size() - position, " bytes follow the last tensor"));
    }
  }

  TensorEntry placed(const HeaderEntry& entry) const {
    const auto shape = content_.shape(entry);
    return {.name = std::string(content_.name(entry)),
            .dtype = entry.dtype->dtype.value_or(DType::U8),
            .shape = {shape.begin(), shape.end()},
            .bytes = data_.subspan(entry.begin, entry.end - entry.begin),
            .unreadable_dtype = entry.dtype->dtype ? "" : entry.dtype->name};
  }

  const HeaderContent& content_;
  std::span<const std::byte> data_;
  const std::string& source_;
};

}  // namespace

std::vector<TensorEntry> parse_safetensors(std::span<const std::byte> file,
                                           const std::string& source) {
  refuse_unfinished_download(source);
  const std::string_view header = header_text(file, source);
  const HeaderContent content = parse_safetensors_header(header, source);
  const std::span<const std::byte> data = file.subspan(kLengthBytes + header.size());
  return Placement(content, data, source).entries();
}

std::int64_t num_elements(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

}  // namespace edgecompress
