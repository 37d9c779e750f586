#include "pipeline/walk_journal.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/kill_point.h"
#include "pipeline/journal_parts.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStatesPrefix = "hidden-states-";

Json progress_json(const WalkProgress& progress) {
  Json document{{"blocks_done", progress.blocks_done},
                {"stages", Json::array()},
                {"tensors", Json::array()},
                {"shards", shards_json(progress.shards)}};
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
  progress.shards = parse_shards(document.at("shards"));
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
  read_states(output_.state_path() / found->first, states);
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
    entry.state_files[name] = write_states(output_, name, states);
    kill_point("states-closed");
  }
  journal_.record(entry);
}

}  // namespace edgecompress
