#include "pipeline/journal_parts.h"

#include <cstring>
#include <map>

#include "base/error.h"
#include "base/mapped_file.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

std::span<std::byte> bytes_of(const at::Tensor& windows) {
  return {static_cast<std::byte*>(windows.data_ptr()), windows.nbytes()};
}

std::uint64_t total_bytes(const std::vector<HiddenStates*>& states) {
  std::uint64_t bytes = 0;
  for (HiddenStates* const each : states) bytes += each->windows(0, each->count()).nbytes();
  return bytes;
}

/// Calls body(bytes) for the windows of all states in order, and releases them afterwards.
template <typename Body>
void for_each_window(const std::vector<HiddenStates*>& states, const Body& body) {
  for (HiddenStates* const each : states) {
    for (std::int64_t window = 0; window < each->count(); ++window) {
      body(bytes_of(each->windows(window, window + 1)));
      each->release(window, window + 1);
    }
  }
}

}  // namespace

Json shards_json(const WrittenShards& shards) {
  return {{"hashes", shards.hashes},
          {"shard_of", shards.shard_of},
          {"total_bytes", shards.total_bytes},
          {"count", shards.count}};
}

WrittenShards parse_shards(const Json& document) {
  return {.hashes = document.at("hashes").get<std::map<std::string, std::string>>(),
          .shard_of = document.at("shard_of").get<std::map<std::string, std::string>>(),
          .total_bytes = document.at("total_bytes").get<std::uint64_t>(),
          .count = document.at("count").get<std::int64_t>()};
}

std::string write_states(StagedFolder& output, const std::string& name,
                         const std::vector<HiddenStates*>& states) {
  StagedFile file = output.create_state(name, total_bytes(states));
  for_each_window(states, [&](std::span<std::byte> window) { file.append(window); });
  return file.close();
}

void read_states(const std::filesystem::path& path, const std::vector<HiddenStates*>& states) {
  const MappedFile file(path);
  std::span<const std::byte> rest = file.bytes();
  if (rest.size() != total_bytes(states)) {
    throw Error(ErrorKind::Conflict, "O-STATE",
                concat(path.string(), " has ", rest.size(), " bytes; ", total_bytes(states),
                       " are needed; give --fresh to begin anew"));
  }
  for_each_window(states, [&](std::span<std::byte> window) {
    std::memcpy(window.data(), rest.data(), window.size());
    file.drop(rest.first(window.size()));
    rest = rest.subspan(window.size());
  });
}

}  // namespace edgecompress
