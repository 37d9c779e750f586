#include "llama/config_text.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"
#include "base/strict_json.h"
#include "checkpoint/file_kind.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLargestConfig = std::size_t{64} << 20;
constexpr std::array<std::string_view, 3> kConstants{"-Infinity", "Infinity", "NaN"};
constexpr std::string_view kMark = "\x7f";  // starts the text that stands for a constant

/// Turns bare constants outside strings into marked texts; everything else stays at its line.
std::string with_marked_constants(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string_view constant;
    for (const std::string_view name : kConstants) {
      if (!in_string && text.substr(i).starts_with(name)) {
        constant = name;
        break;
      }
    }
    if (!constant.empty()) {
      out += concat('"', kMark, constant, '"');
      i += constant.size() - 1;
      continue;
    }
    out += text[i];
    if (in_string && text[i] == '\\' && i + 1 < text.size()) {
      out += text[++i];
    } else if (text[i] == '"') {
      in_string = !in_string;
    }
  }
  return out;
}

}  // namespace

Json parse_config_text(std::string_view text, const std::string& source) {
  refuse_other_file_kinds(std::as_bytes(std::span(text)), source);
  if (text.size() > kLargestConfig) {
    throw Error(
        ErrorKind::Malformed, "C3",
        concat(source, " has ", text.size(), " bytes; at most ", kLargestConfig, " are read"));
  }
  try {
    Json document = parse_strict_json(with_marked_constants(text), source);
    if (!document.is_object()) {
      throw Error(ErrorKind::Malformed, "C3",
                  concat(source, ": must be a JSON object, found ", document.type_name()));
    }
    return document;
  } catch (const Error& error) {
    const std::string what = error.what();
    const bool repeated = what.find("appears twice") != std::string::npos;
    const bool deep = what.find("nested deeper") != std::string::npos;
    if (error.code() == "C3") throw;
    throw Error(ErrorKind::Malformed, repeated ? "C2" : deep ? "C3" : "C1", what);
  }
}

bool is_json_constant(const Json& value) {
  return value.is_string() && value.get_ref<const std::string&>().starts_with(kMark);
}

void nullify_json_constants(Json& value) {
  if (is_json_constant(value)) {
    value = nullptr;
  } else if (value.is_structured()) {
    for (Json& child : value) nullify_json_constants(child);
  }
}

std::optional<std::int64_t> whole_number(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (!value.is_number_unsigned()) return value.get<std::int64_t>();
  return static_cast<std::int64_t>(
      std::min(value.get<std::uint64_t>(), static_cast<std::uint64_t>(INT64_MAX)));
}

std::string shown_json(const Json& value) {
  if (is_json_constant(value)) return value.get<std::string>().substr(kMark.size());
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

}  // namespace edgecompress
