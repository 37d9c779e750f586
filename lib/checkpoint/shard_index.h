#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace edgecompress {

/// model.safetensors.index.json, checked on its own: no file it names has been looked at.
struct ShardIndex {
  std::map<std::string, std::string, std::less<>>
      shard_of;                             ///< tensor name -> file name; never empty
  std::set<std::string> shards;             ///< plain file names, safe to append to a folder's path
  std::optional<std::uint64_t> total_size;  ///< metadata.total_size, when it is a whole number
};

/// Throws Error{Malformed} with the codes I1 ... I5, I12, I15 ... I18, S34 and S35.
ShardIndex parse_shard_index(std::string_view text, const std::string& source);

/// Refuses folders, pipes, sockets and devices without opening them; a path that does not exist
/// passes. Throws Error{Missing} with `code`.
void refuse_irregular(const std::filesystem::path& file, const std::string& code);

}  // namespace edgecompress
