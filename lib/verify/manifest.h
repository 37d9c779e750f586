#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace edgecompress {

inline constexpr const char* kManifestName = "edgecompress.manifest.json";

struct ManifestEntry {
  std::uint64_t size_bytes = 0;
  std::string sha256;  ///< 64 lower-case hexadecimal digits
};

/// What a folder that edgecompress wrote holds: every file but the manifest itself. Schema
/// edgecompress.manifest/v1.
struct Manifest {
  std::string tool_version;
  std::map<std::string, ManifestEntry> files;  ///< by path inside the folder, '/' between parts
};

/// The manifest of files in `folder`, whose hashes are known and whose sizes are read.
/// sha256: by path inside the folder.
Manifest manifest_of(const std::filesystem::path& folder,
                     const std::map<std::string, std::string>& sha256);

/// The file's text: keys in a fixed order.
std::string manifest_text(const Manifest& manifest);

/// Reads a manifest that anybody may have written. Names that could leave the folder are refused:
/// absolute ones, "..", empty parts, backslashes, control characters.
/// source:  named in errors. Throws Error{Malformed} J-JSON or V1.
Manifest parse_manifest(std::string_view text, const std::string& source);

}  // namespace edgecompress
