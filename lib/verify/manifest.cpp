#include "verify/manifest.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sha256.h"
#include "base/strict_json.h"
#include "base/version.h"
#include "checkpoint/file_kind.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "edgecompress.manifest/v1";

[[noreturn]] void fail(const std::string& source, const std::string& message) {
  throw Error(ErrorKind::Malformed, "V1", concat(source, " ", message));
}

const Json& field(const Json& object, const char* key, const std::string& source) {
  if (!object.is_object() || !object.contains(key)) fail(source, concat("has no field ", key));
  return object.at(key);
}

bool stays_inside(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F && c != '\\';
  });
  if (!plain || name.empty() || name.size() > 4096 || name.front() == '/') return false;
  std::size_t begin = 0;
  while (begin <= name.size()) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace

Manifest manifest_of(const std::filesystem::path& folder,
                     const std::map<std::string, std::string>& sha256) {
  Manifest manifest{.tool_version = kVersion, .files = {}};
  for (const auto& [name, hash] : sha256) {
    manifest.files[name] = {.size_bytes = std::filesystem::file_size(folder / name),
                            .sha256 = hash};
  }
  return manifest;
}

std::string manifest_text(const Manifest& manifest) {
  Json document{
      {"schema", kSchema}, {"tool_version", manifest.tool_version}, {"files", Json::object()}};
  for (const auto& [name, entry] : manifest.files) {
    document["files"][name] = {{"bytes", entry.size_bytes}, {"sha256", entry.sha256}};
  }
  return document.dump(1) + "\n";
}

Manifest parse_manifest(std::string_view text, const std::string& source) {
  const Json document = parse_strict_json(text, source);
  if (json_text(field(document, "schema", source), source + ": schema") != kSchema) {
    fail(source, concat("is of another schema than ", kSchema));
  }
  Manifest manifest;
  manifest.tool_version =
      json_text(field(document, "tool_version", source), source + ": tool_version");
  const Json& files = field(document, "files", source);
  if (!files.is_object()) fail(source, "has files that are not an object");
  for (const auto& [name, entry] : files.items()) {
    if (!stays_inside(name)) {
      fail(source, concat("lists \"", shown_text(name), "\", which is no path inside the folder"));
    }
    const std::string where = concat(source, ": ", name);
    const std::string sha256 = json_text(field(entry, "sha256", where), where);
    if (!is_sha256(sha256)) fail(where, "has a sha256 that is not 64 hexadecimal digits");
    const std::int64_t bytes = json_integer(field(entry, "bytes", where), where, 0, INT64_MAX);
    manifest.files[name] = {.size_bytes = static_cast<std::uint64_t>(bytes), .sha256 = sha256};
  }
  return manifest;
}

}  // namespace edgecompress
