#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace edgecompress {

/// Parses the text of a config.json into an object.
///
/// Python's json writes NaN and Infinity, which JSON does not have; they may stand in fields that
/// nobody here reads, so they are taken as a marked text (is_json_constant) and only a field that
/// is needed is refused for it. Throws Error{Malformed}: C1 not JSON, C2 repeated key, C3 not an
/// object, too deep, larger than 64 MiB; S34 and S35 as refuse_other_file_kinds.
nlohmann::ordered_json parse_config_text(std::string_view text, const std::string& source);

/// True for the text that stands for a bare NaN, Infinity or -Infinity.
bool is_json_constant(const nlohmann::ordered_json& value);

/// Replaces every such text by null, the nearest thing that JSON has.
void nullify_json_constants(nlohmann::ordered_json& value);

/// A whole number, or nothing for every other value; beyond 2^63-1 it is 2^63-1. (nlohmann compares
/// unsigned numbers as signed ones: 2^64-1 would equal -1.)
std::optional<std::int64_t> whole_number(const nlohmann::ordered_json& value);

/// A value for a message: at most 60 bytes of JSON.
std::string shown_json(const nlohmann::ordered_json& value);

}  // namespace edgecompress
