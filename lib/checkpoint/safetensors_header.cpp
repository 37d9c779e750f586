#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/file_kind.h"
#include "checkpoint/header_scan.h"

namespace edgecompress {
namespace {

constexpr std::size_t kLongestName = 1'024;
constexpr std::size_t kLargestMetadata = std::size_t{1} << 20;
constexpr std::size_t kHighestRank = 8;
constexpr auto kLargestInteger = static_cast<std::uint64_t>(INT64_MAX);

// Source: safetensors 0.7, enum Dtype and its bitsize().
constexpr std::array kDTypes{
    FormatDType{"F32", 32, DType::F32},      FormatDType{"F16", 16, DType::F16},
    FormatDType{"BF16", 16, DType::BF16},    FormatDType{"I32", 32, DType::I32},
    FormatDType{"I8", 8, DType::I8},         FormatDType{"I64", 64, DType::I64},
    FormatDType{"U8", 8, DType::U8},         FormatDType{"F64", 64, DType::F64},
    FormatDType{"I16", 16, DType::I16},      FormatDType{"BOOL", 8, DType::Bool},
    FormatDType{"U16", 16, std::nullopt},    FormatDType{"U32", 32, std::nullopt},
    FormatDType{"U64", 64, std::nullopt},    FormatDType{"C64", 64, std::nullopt},
    FormatDType{"F8_E4M3", 8, std::nullopt}, FormatDType{"F8_E5M2", 8, std::nullopt},
    FormatDType{"F8_E8M0", 8, std::nullopt}, FormatDType{"F6_E2M3", 6, std::nullopt},
    FormatDType{"F6_E3M2", 6, std::nullopt}, FormatDType{"F4", 4, std::nullopt}};

std::string dtype_names() {
  std::string names;
  for (const FormatDType& row : kDTypes) names += concat(names.empty() ? "" : ", ", row.name);
  return names;
}

bool has_control_character(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return true;
    // U+0080 ... U+009F: terminals take some of them as the start of a command
    if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      return true;
    }
  }
  return false;
}

/// Where in the header the parser stands.
enum class Place { Outside, Top, Metadata, Entry, Shape, Offsets };

class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Reader(const std::string& source, HeaderContent& content) : source_(source), content_(content) {}

  bool null() override {
    if (place_ == Place::Top && in_metadata_value_)
      return true;  // some writers say "no metadata" so
    return wrong_value("null");
  }
  bool boolean(bool value) override { return wrong_value(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    return wrong_value(std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override { return wrong_value(text); }
  bool binary(binary_t&) override { return false; }

  bool number_unsigned(number_unsigned_t value) override {
    if (value > kLargestInteger) return wrong_value(std::to_string(value));
    if (place_ == Place::Shape) {
      if (++entry_.rank > kHighestRank) fail("S32", "has more than 8 dimensions");
      content_.dimensions.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ != Place::Offsets) return wrong_value(std::to_string(value));
    if (num_offsets_ < 2) (num_offsets_ == 0 ? entry_.begin : entry_.end) = value;
    ++num_offsets_;
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::Metadata) {
      metadata_bytes_ += value.size();
      if (metadata_bytes_ > kLargestMetadata) fail_file("S33", "__metadata__ is larger than 1 MiB");
      return true;
    }
    if (place_ != Place::Entry || field_ != Field::DType) return wrong_value("text");
    const auto* const row = std::find_if(kDTypes.begin(), kDTypes.end(),
                                         [&](const FormatDType& d) { return d.name == value; });
    if (row == kDTypes.end()) {
      fail("S17", concat("has dtype \"", shown_text(value), "\"; the format has ", dtype_names()));
    }
    entry_.dtype = row;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::Outside) {
      place_ = Place::Top;
    } else if (place_ == Place::Top) {
      place_ = in_metadata_value_ ? Place::Metadata : Place::Entry;
    } else {
      return wrong_value("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Entry) finish_entry();
    place_ = place_ == Place::Top ? Place::Outside : Place::Top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::Entry && field_ == Field::Shape) {
      place_ = Place::Shape;
    } else if (place_ == Place::Entry && field_ == Field::Offsets) {
      place_ = Place::Offsets;
    } else {
      return wrong_value("an array");
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::Offsets && num_offsets_ != 2) {
      fail("S22", concat("has ", num_offsets_, " data_offsets; expected begin and end"));
    }
    place_ = Place::Entry;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::Top) return start_entry(name);
    if (place_ == Place::Metadata) {
      metadata_bytes_ += name.size();
      metadata_keys_.push_back(name);
      return true;
    }
    return start_field(name);
  }

  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::json::exception& error) override {
    const std::string what = error.what();
    const std::string why = what.substr(std::min(what.find("syntax error"), what.size()));
    const bool surrogate = what.find("surrogate") != std::string::npos;
    fail_file(surrogate ? "S30" : "S7",
              concat("the header is not JSON at its byte ", byte, ": ", shown_text(why)));
  }

  void finish() const {
    std::vector<std::string> keys = metadata_keys_;
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) {
      fail_file("S13", concat("__metadata__ has the key \"", shown_text(*twice), "\" twice"));
    }
  }

 private:
  enum class Field { None, DType, Shape, Offsets };

  [[noreturn]] void fail_file(const std::string& code, const std::string& message) const {
    throw Error(ErrorKind::Malformed, code, concat(source_, ": ", message));
  }
  [[noreturn]] void fail(const std::string& code, const std::string& message) const {
    fail_file(code, concat("tensor \"", shown_text(content_.name(entry_)), "\" ", message));
  }

  bool wrong_value(const std::string& found) const {
    switch (place_) {
      case Place::Outside:
        fail_file("S8", concat("the header must be a JSON object, found ", found));
      case Place::Metadata:
        fail_file("S14", concat("__metadata__ values must be strings, found ", found));
      case Place::Top:
        if (in_metadata_value_) {
          fail_file("S14", concat("__metadata__ must be an object of strings, found ", found));
        }
        fail("S15", concat("must be an object with dtype, shape and data_offsets, found ", found));
      case Place::Shape:
        fail("S18", concat("has a dimension of ", found, "; expected an integer from 0 to 2^63-1"));
      case Place::Offsets:
        fail("S22",
             concat("has a data offset of ", found, "; expected an integer from 0 to 2^63-1"));
      case Place::Entry:
        break;
    }
    if (field_ == Field::DType) fail("S17", concat("has a dtype that is not a string: ", found));
    if (field_ == Field::Shape) fail("S18", concat("has a shape that is no array: ", found));
    fail("S22", concat("has data_offsets that are no array: ", found));
  }

  bool start_entry(const std::string& name) {
    in_metadata_value_ = name == "__metadata__";
    if (in_metadata_value_) {
      if (std::exchange(seen_metadata_, true)) fail_file("S12", "__metadata__ appears twice");
      return true;
    }
    if (name.empty()) fail_file("S29", "a tensor's name is empty");
    if (name.size() > kLongestName) {
      fail_file("S31", concat("the tensor name \"", shown_text(name), "\" has ", name.size(),
                              " bytes; at most ", kLongestName, " are read"));
    }
    if (has_control_character(name)) {
      fail_file("S30",
                concat("the tensor name \"", shown_text(name), "\" holds a control character"));
    }
    entry_ = {.name_begin = content_.names.size(),
              .name_size = name.size(),
              .shape_begin = content_.dimensions.size()};
    content_.names += name;
    seen_ = {};
    num_offsets_ = 0;
    return true;
  }

  bool start_field(const std::string& name) {
    field_ = name == "dtype"          ? Field::DType
             : name == "shape"        ? Field::Shape
             : name == "data_offsets" ? Field::Offsets
                                      : Field::None;
    if (field_ == Field::None) {
      fail("S16", concat("has the unknown field \"", shown_text(name),
                         "\"; expected only dtype, shape and data_offsets"));
    }
    bool& seen = seen_[static_cast<std::size_t>(field_)];
    if (std::exchange(seen, true)) fail("S12", concat("has the field \"", name, "\" twice"));
    return true;
  }

  void finish_entry() {
    constexpr std::array<std::string_view, 4> kNames{"", "dtype", "shape", "data_offsets"};
    for (std::size_t i = 1; i < kNames.size(); ++i) {
      if (!seen_[i]) fail("S15", concat("has no ", kNames[i]));
    }
    if (entry_.end < entry_.begin) {
      fail("S22", concat("ends at ", entry_.end, ", before it begins at ", entry_.begin));
    }
    content_.entries.push_back(entry_);
    in_metadata_value_ = false;
  }

  const std::string& source_;
  HeaderContent& content_;
  Place place_ = Place::Outside;
  Field field_ = Field::None;
  HeaderEntry entry_;
  std::array<bool, 4> seen_{};
  std::uint64_t num_offsets_ = 0;
  bool in_metadata_value_ = false;
  bool seen_metadata_ = false;
  std::size_t metadata_bytes_ = 0;
  std::vector<std::string> metadata_keys_;
};

/// Hashes are compared first: sorting a million names themselves takes several times longer.
void refuse_repeated_names(const HeaderContent& content, const std::string& source) {
  std::vector<std::pair<std::size_t, std::size_t>> hashes;  // hash, entry
  hashes.reserve(content.entries.size());
  for (std::size_t i = 0; i < content.entries.size(); ++i) {
    hashes.emplace_back(std::hash<std::string_view>{}(content.name(content.entries[i])), i);
  }
  const auto name_of = [&](const auto& hash) { return content.name(content.entries[hash.second]); };
  std::sort(hashes.begin(), hashes.end(), [&](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : name_of(a) < name_of(b);
  });
  const auto twice = std::adjacent_find(
      hashes.begin(), hashes.end(),
      [&](const auto& a, const auto& b) { return a.first == b.first && name_of(a) == name_of(b); });
  if (twice == hashes.end()) return;
  throw Error(ErrorKind::Malformed, "S11",
              concat(source, ": two tensors have the name \"", shown_text(name_of(*twice)), "\""));
}

}  // namespace

HeaderContent parse_safetensors_header(std::string_view header, const std::string& source) {
  const HeaderScan scan = scan_safetensors_header(header, source);
  HeaderContent content;
  content.names.reserve(scan.string_bytes);
  content.entries.reserve(scan.objects);
  Reader reader(source, content);
  nlohmann::json::sax_parse(header.data(), header.data() + header.size(), &reader);
  reader.finish();
  if (content.entries.size() > kMostTensors) refuse_many_tensors(source);
  refuse_repeated_names(content, source);
  return content;
}

}  // namespace edgecompress
