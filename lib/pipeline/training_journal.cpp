#include "pipeline/training_journal.h"

#include <array>
#include <cstring>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "pipeline/journal_parts.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kData = "training";
constexpr const char* kBlockData = "block_training";
constexpr const char* kStatePrefix = "training-state-";
constexpr const char* kBlockStatePrefix = "training-state-block-";

bool is_training_state(const std::string& file) { return file.rfind(kStatePrefix, 0) == 0; }

[[noreturn]] void fail_incomplete(const Json::exception& error) {
  throw Error(ErrorKind::Conflict, "O-STATE",
              concat("the journal of the interrupted run lacks what a training needs (",
                     error.what(), "); give --fresh to delete it and begin anew"));
}

/// In the order of the file.
std::array<const at::Tensor*, 4> tensors_of(const TrainingState::Tensors& parameter) {
  return {&parameter.value, &parameter.moments.mean, &parameter.moments.square, &parameter.best};
}

Json shapes_json(const TrainingState& state) {
  Json shapes = Json::array();
  for (const TrainingState::Tensors& parameter : state.parameters) {
    shapes.push_back(parameter.value.sizes().vec());
  }
  return shapes;
}

Json state_json(const TrainingState& state) {
  return {{"report", training_report_json(state.report)},
          {"warnings", state.report.warnings},
          {"rate_share", state.rate_share},
          {"optimizer_steps", state.optimizer_steps},
          {"rises", state.rises},
          {"shapes", shapes_json(state)}};
}

Json prelude_json(const TrainingPrelude& prelude) {
  Json document{{"block_files", prelude.block_files}};
  if (prelude.perplexity_increase) document["perplexity_increase"] = *prelude.perplexity_increase;
  if (prelude.blocks) {
    document["blocks"] = block_training_report_json(*prelude.blocks);
    document["block_warnings"] = prelude.blocks->warnings;
  }
  return document;
}

TrainingPrelude parse_prelude(const Json& document) {
  TrainingPrelude prelude;
  prelude.block_files = document.at("block_files").get<std::map<std::string, std::string>>();
  if (document.contains("perplexity_increase")) {
    prelude.perplexity_increase = document.at("perplexity_increase").get<double>();
  }
  if (document.contains("blocks")) {
    prelude.blocks = parse_block_training_report(document.at("blocks"));
    prelude.blocks->warnings = document.at("block_warnings").get<std::vector<std::string>>();
  }
  return prelude;
}

TrainingState parse_state(const Json& document) {
  TrainingState state;
  state.report = parse_training_report(document.at("report"));
  state.report.warnings = document.at("warnings").get<std::vector<std::string>>();
  state.rate_share = document.at("rate_share").get<double>();
  state.optimizer_steps = document.at("optimizer_steps").get<std::int64_t>();
  state.rises = document.at("rises").get<std::int64_t>();
  return state;
}

/// Takes a float tensor of that shape from the front of the bytes.
at::Tensor take_tensor(std::span<const std::byte>& bytes, const std::vector<std::int64_t>& shape) {
  const at::Tensor tensor = at::empty(shape, at::kFloat);
  if (bytes.size() < tensor.nbytes()) {
    throw Error(ErrorKind::Conflict, "O-STATE",
                concat("the kept state of the training ends ", tensor.nbytes() - bytes.size(),
                       " bytes early; give --fresh to delete it and begin anew"));
  }
  std::memcpy(tensor.data_ptr(), bytes.data(), tensor.nbytes());
  bytes = bytes.subspan(tensor.nbytes());
  return tensor;
}

}  // namespace

std::optional<InterruptedTraining> TrainingJournal::interrupted() const {
  const std::optional<JournalEntry>& entry = journal_.resumed();
  if (!entry || !entry->data.contains(kData)) return std::nullopt;
  try {
    const Json& data = entry->data.at(kData);
    InterruptedTraining found{.prelude = parse_prelude(data.at("before")),
                              .state = parse_state(data.at("state"))};
    const MappedFile file(output_.state_path() / data.at("file").get<std::string>());
    std::span<const std::byte> bytes = file.bytes();
    for (const Json& shape : data.at("state").at("shapes")) {
      const auto sizes = shape.get<std::vector<std::int64_t>>();
      TrainingState::Tensors parameter;
      parameter.value = take_tensor(bytes, sizes);
      parameter.moments.mean = take_tensor(bytes, sizes);
      parameter.moments.square = take_tensor(bytes, sizes);
      parameter.best = take_tensor(bytes, sizes);
      found.state.parameters.push_back(parameter);
    }
    return found;
  } catch (const Json::exception& error) {
    fail_incomplete(error);
  }
}

std::optional<BlockTrainingProgress> TrainingJournal::interrupted_blocks() const {
  const std::optional<JournalEntry>& entry = journal_.resumed();
  if (!entry || !entry->data.contains(kBlockData)) return std::nullopt;
  try {
    const Json& data = entry->data.at(kBlockData);
    BlockTrainingProgress progress{.report = parse_block_training_report(data.at("report")),
                                   .shards = parse_shards(data.at("shards"))};
    progress.report.warnings = data.at("warnings").get<std::vector<std::string>>();
    if (data.contains("perplexity_increase")) {
      progress.perplexity_increase = data.at("perplexity_increase").get<double>();
    }
    return progress;
  } catch (const Json::exception& error) {
    fail_incomplete(error);
  }
}

void TrainingJournal::restore_blocks(const std::vector<HiddenStates*>& states) const {
  const std::map<std::string, std::string>& files = journal_.resumed()->state_files;
  const auto found = files.lower_bound(kBlockStatePrefix);
  if (found == files.end() || found->first.rfind(kBlockStatePrefix, 0) != 0) {
    throw Error(ErrorKind::Conflict, "O-STATE",
                "the journal of the interrupted run names no hidden states of its trained blocks; "
                "give --fresh to delete it and begin anew");
  }
  read_states(output_.state_path() / found->first, states);
}

JournalEntry TrainingJournal::entry_without_training() const {
  JournalEntry entry = journal_.last().value_or(
      JournalEntry{.unit = {}, .output_files = {}, .state_files = {}, .data = Json::object()});
  std::erase_if(entry.state_files, [](const auto& file) { return is_training_state(file.first); });
  entry.data.erase(kData);
  entry.data.erase(kBlockData);
  return entry;
}

void TrainingJournal::note_block(const BlockTrainingProgress& progress, std::int64_t blocks,
                                 const std::vector<HiddenStates*>& states) {
  if (!journal_.keeps_records()) return;
  const std::size_t done = progress.report.blocks.size();
  JournalEntry entry = entry_without_training();
  entry.unit = concat("training of decoder block ", done, " of ", blocks);
  entry.output_files.insert(progress.shards.hashes.begin(), progress.shards.hashes.end());
  const std::string name = concat(kBlockStatePrefix, done, ".f32");
  entry.state_files[name] = write_states(output_, name, states);
  Json& data = entry.data[kBlockData];
  data = {{"report", block_training_report_json(progress.report)},
          {"warnings", progress.report.warnings},
          {"shards", shards_json(progress.shards)}};
  if (progress.perplexity_increase) data["perplexity_increase"] = *progress.perplexity_increase;
  journal_.record(entry);
}

void TrainingJournal::note(const TrainingPrelude& prelude, const TrainingState& state) {
  if (!journal_.keeps_records()) return;
  JournalEntry entry = entry_without_training();
  entry.unit = concat("training step ", state.report.outcome.steps_done, " of ",
                      state.report.outcome.steps_planned);
  entry.output_files.insert(prelude.block_files.begin(), prelude.block_files.end());
  const std::string name = concat(kStatePrefix, state.report.outcome.steps_done, ".f32");
  std::uint64_t bytes = 0;
  for (const TrainingState::Tensors& parameter : state.parameters) {
    bytes += tensors_of(parameter).size() * parameter.value.nbytes();
  }
  StagedFile file = output_.create_state(name, bytes);
  for (const TrainingState::Tensors& parameter : state.parameters) {
    for (const at::Tensor* const tensor : tensors_of(parameter)) {
      const at::Tensor host = tensor->cpu().contiguous();
      file.append({static_cast<const std::byte*>(host.data_ptr()), host.nbytes()});
    }
  }
  entry.state_files[name] = file.close();
  entry.data[kData] = {
      {"before", prelude_json(prelude)}, {"state", state_json(state)}, {"file", name}};
  journal_.record(entry);
}

}  // namespace edgecompress
