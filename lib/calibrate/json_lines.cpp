#include "calibrate/json_lines.h"

#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/strict_json.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kText = "text";
constexpr const char* kIds = "input_ids";
constexpr const char* kMask = "attention_mask";

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::Malformed, "F26", concat(where, ": ", what));
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

/// Calls body(object, "FILE line N", N) for each line that is not empty, until it returns false.
template <typename Body>
void for_each_object(const std::filesystem::path& path, const Body& body) {
  const MappedFile file(path);
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  for (std::int64_t number = 1; !rest.empty(); ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (is_blank(line)) continue;
    const std::string where = concat(path.filename().string(), " line ", number);
    Json object;
    try {
      object = parse_strict_json(line, where);
    } catch (const Error& error) {
      refuse(where, concat("not JSON: ", error.what()));
    }
    if (!object.is_object()) refuse(where, "expected an object with \"text\" or \"input_ids\"");
    if (!body(object, where, number)) return;
  }
}

/// The key's value. other: the key of the other kind of file.
const Json& value_of(const Json& object, const char* key, const char* other,
                     const std::string& where) {
  const auto found = object.find(key);
  if (found != object.end()) return *found;
  refuse(where, object.contains(other) ? concat("has \"", other, "\", but lines before have \"",
                                                key, "\"; give files of one kind")
                                       : concat("has neither \"text\" nor \"input_ids\""));
}

std::int64_t integer_of(const Json& value, const std::string& where, const char* key,
                        std::int64_t high) {
  if (!value.is_number_integer()) {
    refuse(where, concat("\"", key, "\" must be integers, found ", value.dump().substr(0, 40)));
  }
  const bool in_range = value.is_number_unsigned()
                            ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(high)
                            : value.get<std::int64_t>() >= 0 && value.get<std::int64_t>() <= high;
  if (!in_range) {
    refuse(where, concat("\"", key, "\" must be from 0 to ", high, ", found ", value.dump()));
  }
  return value.get<std::int64_t>();
}

void ensure_array(const Json& value, const std::string& where, const char* key) {
  if (!value.is_array()) refuse(where, concat("\"", key, "\" must be an array of integers"));
}

std::vector<std::int32_t> ids_of(const Json& object, const std::string& where,
                                 std::int64_t vocab_size) {
  const Json& values = value_of(object, kIds, kText, where);
  ensure_array(values, where, kIds);
  const auto mask = object.find(kMask);
  if (mask != object.end()) {
    ensure_array(*mask, where, kMask);
    if (mask->size() != values.size()) {
      refuse(where, concat("\"attention_mask\" has ", mask->size(), " entries for ", values.size(),
                           " ids"));
    }
  }
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t id = integer_of(values[i], where, kIds, vocab_size - 1);
    if (mask != object.end() && integer_of((*mask)[i], where, kMask, 1) == 0) continue;
    ids.push_back(static_cast<std::int32_t>(id));
  }
  if (ids.size() < 2) {
    refuse(where,
           concat("a sequence needs at least 2 tokens without padding, this one has ", ids.size()));
  }
  return ids;
}

}  // namespace

bool is_json_lines(const std::filesystem::path& path) { return path.extension() == ".jsonl"; }

bool holds_token_ids(const std::filesystem::path& path) {
  bool ids = false;
  for_each_object(path, [&](const Json& object, const std::string&, std::int64_t) {
    ids = object.contains(kIds);
    return false;
  });
  return ids;
}

std::vector<TextLine> read_text_lines(const std::filesystem::path& path) {
  std::vector<TextLine> lines;
  if (holds_token_ids(path)) {
    throw Error(ErrorKind::Malformed, "F26",
                concat(path.filename().string(),
                       " holds token ids, which only calibration takes; name a text here"));
  }
  for_each_object(path, [&](const Json& object, const std::string& where, std::int64_t number) {
    const Json& text = value_of(object, kText, kIds, where);
    if (!text.is_string()) refuse(where, "\"text\" must be a text");
    if (!text.get_ref<const std::string&>().empty()) {
      lines.push_back({.number = number, .text = text.get<std::string>()});
    }
    return true;
  });
  return lines;
}

std::vector<std::vector<std::int32_t>> read_id_lines(const std::filesystem::path& path,
                                                     std::int64_t vocab_size) {
  std::vector<std::vector<std::int32_t>> sequences;
  for_each_object(path, [&](const Json& object, const std::string& where, std::int64_t) {
    sequences.push_back(ids_of(object, where, vocab_size));
    return true;
  });
  return sequences;
}

}  // namespace edgecompress
