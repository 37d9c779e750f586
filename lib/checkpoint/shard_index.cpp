#include "checkpoint/shard_index.h"

#include <algorithm>
#include <cctype>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/strict_json.h"
#include "checkpoint/file_kind.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLargestIndex = std::size_t{64} << 20;
constexpr std::size_t kLongestFileName = 255;
constexpr std::size_t kMostShards = 10'000;
constexpr std::string_view kSuffix = ".safetensors";

[[noreturn]] void fail(const std::string& code, const std::string& source,
                       const std::string& message) {
  throw Error(ErrorKind::Malformed, code, concat(source, ": ", message));
}

Json parse_document(std::string_view text, const std::string& source) {
  refuse_other_file_kinds(std::as_bytes(std::span(text)), source);
  if (text.size() > kLargestIndex) {
    fail("I1", source, concat("has ", text.size(), " bytes; at most ", kLargestIndex, " are read"));
  }
  try {
    return parse_strict_json(text, source);
  } catch (const Error& error) {
    const std::string what = error.what();
    const bool repeated = what.find("appears twice") != std::string::npos;
    throw Error(ErrorKind::Malformed, repeated ? "I12" : "I1", what);
  }
}

bool is_plain_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' ||
         c == '+' || c == '=' || c == ' ';
}

void check_file_name(const std::string& name, const std::string& source) {
  const std::string shown = concat("weight_map names the file \"", shown_text(name), "\"");
  if (name.starts_with('/')) {
    fail("I4", source, shown + ", an absolute path; expected a file name inside the folder");
  }
  const bool plain = !name.empty() && !name.starts_with('.') && name.size() <= kLongestFileName &&
                     std::all_of(name.begin(), name.end(), is_plain_character);
  if (!plain) {
    fail("I5", source,
         shown +
             "; expected one file name of at most 255 letters, digits and -_.+= that does not "
             "start with a dot");
  }
  if (!name.ends_with(kSuffix) || name.size() == kSuffix.size()) {
    fail("I16", source,
         shown +
             ", which does not end in .safetensors; pickled checkpoints are not read: convert "
             "them with transformers' save_pretrained");
  }
}

/// "model-00002-of-00007.safetensors" as {2, 7}.
struct ShardCount {
  std::size_t number = 0;
  std::size_t of = 0;
};

std::optional<ShardCount> shard_count(std::string_view name) {
  constexpr std::string_view kShape = "-00000-of-00000";
  name.remove_suffix(kSuffix.size());
  if (name.size() < kShape.size()) return std::nullopt;
  name.remove_prefix(name.size() - kShape.size());
  ShardCount count;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9';
    if (kShape[i] != '0' ? name[i] != kShape[i] : !digit) return std::nullopt;
    if (kShape[i] != '0') continue;
    std::size_t& value = i < 6 ? count.number : count.of;
    value = value * 10 + static_cast<std::size_t>(name[i] - '0');
  }
  return count;
}

void check_counts(const std::set<std::string>& shards, const std::string& source) {
  std::set<std::size_t> numbers;
  std::set<std::size_t> totals;
  for (const std::string& shard : shards) {
    const std::optional<ShardCount> count = shard_count(shard);
    if (!count) continue;
    numbers.insert(count->number);
    totals.insert(count->of);
  }
  if (totals.empty()) return;
  if (totals.size() > 1) {
    fail("I15", source,
         concat("the file names count differently: \"of ", *totals.begin(), "\" and \"of ",
                *totals.rbegin(), "\""));
  }
  const std::size_t total = *totals.begin();
  if (numbers.size() != total || *numbers.begin() != 1 || *numbers.rbegin() != total) {
    fail("I15", source,
         concat("the file names announce shards 1 to ", total, ", weight_map names ",
                numbers.size(), " of them, from ", *numbers.begin(), " to ", *numbers.rbegin()));
  }
}

void check_case(const std::set<std::string>& shards, const std::string& source) {
  std::map<std::string, std::string> seen;
  for (const std::string& shard : shards) {
    std::string lower = shard;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto [first, inserted] = seen.emplace(lower, shard);
    if (!inserted) {
      fail("I18", source,
           concat("the file names \"", first->second, "\" and \"", shard,
                  "\" differ only in case; some file systems keep only one of them"));
    }
  }
}

const Json& weight_map(const Json& document, const std::string& source) {
  if (!document.is_object()) fail("I1", source, "must be a JSON object");
  const auto found = document.find("weight_map");
  if (found == document.end()) fail("I2", source, "has no weight_map");
  if (!found->is_object() || found->empty()) {
    fail("I2", source,
         concat("weight_map must be an object that names at least one tensor, found ",
                found->is_object() ? "an empty one" : found->type_name()));
  }
  return *found;
}

std::optional<std::uint64_t> total_size(const Json& document) {
  const auto metadata = document.find("metadata");
  if (metadata == document.end() || !metadata->is_object()) return std::nullopt;
  const auto size = metadata->find("total_size");
  if (size == metadata->end() || !size->is_number_unsigned()) return std::nullopt;
  return size->get<std::uint64_t>();
}

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& source) {
  const Json document = parse_document(text, source);
  ShardIndex index;
  for (const auto& [tensor, file] : weight_map(document, source).items()) {
    if (!file.is_string()) {
      fail("I3", source,
           concat("weight_map gives tensor \"", shown_text(tensor), "\" ", file.type_name(),
                  "; expected a file name"));
    }
    const auto& name = file.get_ref<const std::string&>();
    if (index.shards.insert(name).second) check_file_name(name, source);
    index.shard_of.emplace(tensor, name);
  }
  if (index.shards.size() > kMostShards) {
    fail("I17", source,
         concat("names ", index.shards.size(), " files; at most ", kMostShards, " are read"));
  }
  check_case(index.shards, source);
  check_counts(index.shards, source);
  index.total_size = total_size(document);
  return index;
}

void refuse_irregular(const std::filesystem::path& file, const std::string& code) {
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(file, ignored);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) return;
  throw Error(
      ErrorKind::Missing, code,
      concat(file.string(), " is not a regular file but ",
             std::filesystem::is_directory(status) ? "a folder" : "a pipe, socket or device"));
}

}  // namespace edgecompress
