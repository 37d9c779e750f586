#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/staged_output.h"
#include "calibrate/hidden_states.h"
#include "llama/checkpoint_writer.h"

namespace edgecompress {

/// What a journal says of shards that are whole.
nlohmann::ordered_json shards_json(const WrittenShards& shards);

/// Throws nlohmann::json::exception for anything that shards_json did not write.
WrittenShards parse_shards(const nlohmann::ordered_json& document);

/// Writes the hidden states of all windows beside a journal, raw floats one after the other.
/// Returns the file's SHA-256.
std::string write_states(StagedFolder& output, const std::string& name,
                         const std::vector<HiddenStates*>& states);

/// Fills hidden states of the same sizes, in the same order.
/// Throws Error{Conflict} O-STATE when the file has another size.
void read_states(const std::filesystem::path& path, const std::vector<HiddenStates*>& states);

}  // namespace edgecompress
