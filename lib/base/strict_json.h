#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace edgecompress {

/// Parses JSON that was not written by us.
///
/// source:  named in errors, usually a path.
/// Returns  the document with its keys in file order.
/// Throws   Error{Malformed} with line and column for: a syntax error, NaN or Infinity, a byte
/// order mark, text after
///          the document, invalid UTF-8, a repeated key, or nesting deeper than 64.
nlohmann::ordered_json parse_strict_json(std::string_view text, const std::string& source);

/// An object's field as an integer. Throws Error{Malformed} when `value` is anything but an integer
/// of [low, high]
/// (-1 and 4096.0 are refused, not converted). `where` is named in the error, for example
/// "config.json: hidden_size".
std::int64_t json_integer(const nlohmann::ordered_json& value, const std::string& where,
                          std::int64_t low, std::int64_t high);

/// The same for a finite number, integer or not.
double json_number(const nlohmann::ordered_json& value, const std::string& where);

/// The same for true or false.
bool json_boolean(const nlohmann::ordered_json& value, const std::string& where);

/// The same for text.
std::string json_text(const nlohmann::ordered_json& value, const std::string& where);

}  // namespace edgecompress
