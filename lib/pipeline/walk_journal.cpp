#include "pipeline/walk_journal.h"

#include <cstring>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/kill_point.h"
#include "base/mapped_file.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStatesPrefix = "hidden-states-";

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

Json progress_json(const WalkProgress& progress) {
  Json document{{"blocks_done", progress.blocks_done},
                {"stages", Json::array()},
                {"tensors", Json::array()},
                {"shards",
                 {{"hashes", progress.shards.hashes},
                  {"shard_of", progress.shards.shard_of},
                  {"total_bytes", progress.shards.total_bytes},
                  {"count", progress.shards.count}}}};
  for (const WalkProgress::Counted& stage : progress.stages) {
    document["stages"].push_back({stage.zeros, stage.weights});
  }
  for (const TensorReport& tensor : progress.tensors) {
    document["tensors"].push_back(tensor_report_json(tensor));
  }
  return document;
}

WalkProgress parse_progress(const Json& document) {
  WalkProgress progress;
  progress.blocks_done = document.at("blocks_done").get<std::int64_t>();
  for (const Json& stage : document.at("stages")) {
    progress.stages.push_back(
        {.zeros = stage.at(0).get<std::int64_t>(), .weights = stage.at(1).get<std::int64_t>()});
  }
  for (const Json& tensor : document.at("tensors")) {
    progress.tensors.push_back(parse_tensor_report(tensor));
  }
  const Json& shards = document.at("shards");
  progress.shards = {.hashes = shards.at("hashes").get<std::map<std::string, std::string>>(),
                     .shard_of = shards.at("shard_of").get<std::map<std::string, std::string>>(),
                     .total_bytes = shards.at("total_bytes").get<std::uint64_t>(),
                     .count = shards.at("count").get<std::int64_t>()};
  return progress;
}

}  // namespace

std::optional<WalkProgress> WalkJournal::resumed() const {
  if (!journal_.resumed()) return std::nullopt;
  try {
    return parse_progress(journal_.resumed()->data);
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::Conflict, "O-STATE",
                concat("the journal of the interrupted run lacks what a walk needs (", error.what(),
                       "); give --fresh to delete it and begin anew"));
  }
}

void WalkJournal::restore(const std::vector<HiddenStates*>& states) const {
  if (states.empty()) return;
  const std::map<std::string, std::string>& files = journal_.resumed()->state_files;
  const auto found = files.lower_bound(kStatesPrefix);
  ensure(found != files.end() && found->first.rfind(kStatesPrefix, 0) == 0,
         "a file of hidden states");
  const MappedFile file(output_.state_path() / found->first);
  std::span<const std::byte> rest = file.bytes();
  if (rest.size() != total_bytes(states)) {
    throw Error(ErrorKind::Conflict, "O-STATE",
                concat(file.path().string(), " has ", rest.size(), " bytes; ", total_bytes(states),
                       " are needed; give --fresh to begin anew"));
  }
  for_each_window(states, [&](std::span<std::byte> window) {
    std::memcpy(window.data(), rest.data(), window.size());
    file.drop(rest.first(window.size()));
    rest = rest.subspan(window.size());
  });
}

void WalkJournal::note(const WalkProgress& progress, std::int64_t blocks,
                       const std::vector<HiddenStates*>& states) {
  if (!journal_.keeps_records()) return;
  JournalEntry entry{.unit = progress.blocks_done == 0
                                 ? std::string("the embedding")
                                 : concat("decoder block ", progress.blocks_done, " of ", blocks),
                     .output_files = progress.shards.hashes,
                     .state_files = {},
                     .data = progress_json(progress)};
  if (!states.empty()) {
    const std::string name = concat(kStatesPrefix, progress.blocks_done, ".f32");
    StagedFile file = output_.create_state(name, total_bytes(states));
    for_each_window(states, [&](std::span<std::byte> window) { file.append(window); });
    entry.state_files[name] = file.close();
    kill_point("states-closed");
  }
  journal_.record(entry);
}

}  // namespace edgecompress
