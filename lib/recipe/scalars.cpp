#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "recipe/fields.h"

namespace edgecompress {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

std::size_t num_digits(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && digit(text[count])) ++count;
  return count;
}

/// JSON's grammar: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
bool json_number_syntax(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const std::size_t whole = num_digits(text);
  if (whole == 0 || (whole > 1 && text[0] == '0')) return false;
  text.remove_prefix(whole);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    const std::size_t fraction = num_digits(text);
    if (fraction == 0) return false;
    text.remove_prefix(fraction);
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    const std::size_t exponent = num_digits(text);
    if (exponent == 0) return false;
    text.remove_prefix(exponent);
  }
  return text.empty();
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  if (digits.empty() || num_digits(digits) != digits.size()) return {};
  if (digits.size() > 1 && digits[0] == '0') return {};
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

std::optional<double> parse_share(std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  if (!json_number_syntax(text)) return {};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return percent ? value / 100 : value;
}

std::optional<double> parse_size(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 6> kUnits{{{"KiB", 1024.0},
                                                                       {"MiB", 1048576.0},
                                                                       {"GiB", 1073741824.0},
                                                                       {"KB", 1e3},
                                                                       {"MB", 1e6},
                                                                       {"GB", 1e9}}};
  double factor = 1;
  for (const auto& [unit, bytes] : kUnits) {
    if (!text.ends_with(unit)) continue;
    factor = bytes;
    text.remove_suffix(unit.size());
    break;
  }
  if (text.ends_with('%')) return {};
  const std::optional<double> number = parse_share(text);
  if (!number || *number <= 0) return {};
  return *number * factor;
}

std::optional<std::vector<int>> parse_version(std::string_view text) {
  std::vector<int> parts;
  while (true) {
    const std::size_t count = num_digits(text);
    const std::optional<std::int64_t> part = parse_integer(text.substr(0, count));
    if (!part || *part > 1'000'000) return {};
    parts.push_back(static_cast<int>(*part));
    text.remove_prefix(count);
    if (text.empty()) break;
    if (!text.starts_with('.')) return {};
    text.remove_prefix(1);
  }
  if (parts.size() < 2 || parts.size() > 3) return {};
  parts.resize(3);
  return parts;
}

const YamlNode* ObjectReader::find(std::string_view key) const {
  return node_ == nullptr ? nullptr : node_->find(key);
}

bool ObjectReader::has_other_keys(std::string_view key) const {
  if (node_ == nullptr || node_->kind != YamlNode::Kind::Map) return true;
  return std::any_of(node_->entries.begin(), node_->entries.end(),
                     [&](const YamlNode::Entry& entry) {
                       return entry.key != key && !entry.key.starts_with("x-");
                     });
}

SourceSpan ObjectReader::at(std::string_view key) const {
  return node_ == nullptr ? SourceSpan{} : node_->key_at(key);
}

std::int64_t ObjectReader::integer(std::string_view key, std::int64_t otherwise) const {
  const YamlNode* const value = find(key);
  return value == nullptr ? otherwise : parse_integer(value->text).value_or(otherwise);
}

double ObjectReader::share(std::string_view key, double otherwise) const {
  const YamlNode* const value = find(key);
  return value == nullptr ? otherwise : parse_share(value->text).value_or(otherwise);
}

bool ObjectReader::boolean(std::string_view key, bool otherwise) const {
  const YamlNode* const value = find(key);
  if (value == nullptr || (value->text != "true" && value->text != "false")) return otherwise;
  return value->text == "true";
}

std::string ObjectReader::text(std::string_view key, std::string_view otherwise) const {
  const YamlNode* const value = find(key);
  return value == nullptr || value->kind != YamlNode::Kind::Scalar ? std::string(otherwise)
                                                                   : value->text;
}

std::vector<std::int64_t> ObjectReader::integers(std::string_view key) const {
  std::vector<std::int64_t> out;
  for (const std::string& text : texts(key)) out.push_back(parse_integer(text).value_or(0));
  return out;
}

std::map<std::int64_t, std::vector<std::int64_t>> ObjectReader::head_lists(
    std::string_view key) const {
  std::map<std::int64_t, std::vector<std::int64_t>> out;
  const YamlNode* const value = find(key);
  if (value == nullptr) return out;
  const ObjectReader lists(value);
  for (const YamlNode::Entry& entry : value->entries) {
    const std::optional<std::int64_t> block = parse_integer(entry.key);
    if (block) out[*block] = lists.integers(entry.key);
  }
  return out;
}

std::vector<std::string> ObjectReader::texts(std::string_view key) const {
  const YamlNode* const value = find(key);
  if (value == nullptr) return {};
  if (value->kind == YamlNode::Kind::Scalar) return {value->text};
  std::vector<std::string> out;
  for (const YamlNode& item : value->items) out.push_back(item.text);
  return out;
}

}  // namespace edgecompress
