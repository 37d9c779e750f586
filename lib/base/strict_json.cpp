#include "base/strict_json.h"

#include <cmath>
#include <set>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kDepthLimit = 64;

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorKind::Malformed, "J-JSON", message);
}

struct Position {
  std::size_t line;
  std::size_t column;
};

Position position_of(std::string_view text, std::size_t byte) {
  Position at{1, 1};
  for (std::size_t i = 0; i + 1 < byte && i < text.size(); ++i) {
    at = text[i] == '\n' ? Position{at.line + 1, 1} : Position{at.line, at.column + 1};
  }
  return at;
}

/// Builds the document while it looks for what nlohmann's own parser lets pass: repeated keys and
/// deep nesting.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(std::string source) : source_(std::move(source)) {}

  Json take() { return std::move(root_); }
  std::string syntax_error;
  std::size_t error_byte = 0;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) {
      fail(concat(source_, ": key \"", name, "\" appears twice in one object"));
    }
    key_ = name;
    return true;
  }

  bool parse_error(std::size_t byte, const std::string&, const Json::exception& error) override {
    error_byte = byte;
    syntax_error = error.what();
    return false;
  }

 private:
  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    // push_back on the underlying vector: operator[] would search all earlier keys again
    parent.get_ref<Json::object_t&>().push_back({key_, std::move(value)});
    return &parent.get_ref<Json::object_t&>().back().second;
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json value) {
    if (open_.size() == kDepthLimit) fail(concat(source_, ": nested deeper than ", kDepthLimit));
    open_.push_back(place(std::move(value)));
    keys_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string source_;
  Json root_;
  std::vector<Json*>
      open_;  // a parent only grows at its end after its last child is closed, so these stay valid
  std::vector<std::set<std::string>> keys_;
  std::string key_;
};

std::string shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

}  // namespace

Json parse_strict_json(std::string_view text, const std::string& source) {
  if (text.starts_with("\xEF\xBB\xBF")) fail(concat(source, ":1:1: starts with a byte order mark"));
  Builder builder(source);
  if (!Json::sax_parse(text, &builder)) {
    const Position at = position_of(text, builder.error_byte);
    const std::string& full = builder.syntax_error;
    const std::size_t colon = full.find("; last read");
    const std::size_t start = full.find("syntax error");
    const std::string why = start == std::string::npos ? full : full.substr(start, colon - start);
    fail(concat(source, ":", at.line, ":", at.column, ": not JSON: ", why));
  }
  return builder.take();
}

std::int64_t json_integer(const Json& value, const std::string& where, std::int64_t low,
                          std::int64_t high) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
  const std::int64_t number = fits ? value.get<std::int64_t>() : 0;
  if (!fits || number < low || number > high) {
    fail(concat(where, " must be an integer from ", low, " to ", high, ", found ", shown(value)));
  }
  return number;
}

double json_number(const Json& value, const std::string& where) {
  const double number = value.is_number() ? value.get<double>() : NAN;
  if (!std::isfinite(number)) fail(concat(where, " must be a finite number, found ", shown(value)));
  return number;
}

bool json_boolean(const Json& value, const std::string& where) {
  if (!value.is_boolean()) fail(concat(where, " must be true or false, found ", shown(value)));
  return value.get<bool>();
}

std::string json_text(const Json& value, const std::string& where) {
  if (!value.is_string()) fail(concat(where, " must be text, found ", shown(value)));
  return value.get<std::string>();
}

}  // namespace edgecompress
