#include "checkpoint/tensor_store.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/outside_link.h"
#include "checkpoint/file_kind.h"
#include "checkpoint/shard_index.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

[[noreturn]] void fail(const std::string& code, const fs::path& where, const std::string& message) {
  throw Error(ErrorKind::Malformed, code, concat(where.string(), ": ", message));
}

/// Present in some form, a dangling link included.
bool present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

void check_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return;
  const bool exists = fs::exists(folder, error);
  throw Error(ErrorKind::Missing, exists ? "S36" : "F-OPEN",
              concat(folder.string(), exists ? " is not a folder" : " does not exist",
                     "; expected a model folder with config.json and model.safetensors"));
}

/// Says what the folder holds instead of safetensors.
[[noreturn]] void fail_without_weights(const fs::path& folder) {
  std::error_code ignored;
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(folder, ignored)) {
    names.push_back(item.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (name.find(".safetensors") != std::string::npos) {
      refuse_unfinished_download((folder / name).string());
    }
    const bool pickle = (name.starts_with("pytorch_model") && name.ends_with(".bin")) ||
                        name.ends_with(".pth") || name.ends_with(".pt") || name.ends_with(".ckpt");
    if (pickle || name.ends_with(".gguf")) {
      throw Error(
          ErrorKind::Unsupported, pickle ? "I16" : "S35",
          concat(folder.string(), " holds ", shown_text(name),
                 pickle ? ", a pickled checkpoint, which can run code when it is read; "
                          "convert it once: python -c \"from transformers import "
                          "AutoModelForCausalLM as A; A.from_pretrained('FOLDER')"
                          ".save_pretrained('NEW_FOLDER')\""
                        : ", a GGUF file; use the safetensors checkpoint it was made from"));
    }
  }
  throw Error(ErrorKind::Missing, "I6",
              concat(folder.string(), " has neither ", kSingleFile, " nor ", kIndexFile));
}

/// All shards that are absent, in one message.
void check_present(const fs::path& folder, const std::set<std::string>& shards) {
  std::string missing;
  std::size_t count = 0;
  for (const std::string& shard : shards) {
    std::error_code ignored;
    refuse_outside_link(folder, folder / shard);
    if (fs::exists(folder / shard, ignored)) continue;
    missing += concat("\n  ", shard,
                      present(folder / (shard + ".incomplete")) ? " (an unfinished download)" : "");
    ++count;
  }
  if (count == 0) return;
  throw Error(ErrorKind::Missing, "I6",
              concat(folder.string(), ": ", count, " of ", shards.size(), " shards named by ",
                     kIndexFile, " are missing:", missing));
}

std::unique_ptr<MappedFile> map_file(const fs::path& folder, const fs::path& name,
                                     const std::string& irregular_code) {
  const fs::path path = folder / name;
  refuse_outside_link(folder, path);
  refuse_irregular(path, irregular_code);
  return std::make_unique<MappedFile>(path);
}

using Tensors = std::map<std::string, TensorEntry, std::less<>>;

/// Adds a shard's tensors after comparing them with the index.
void add_shard(const MappedFile& file, const ShardIndex& index, Tensors& tensors) {
  const std::string shard = file.path().filename().string();
  for (TensorEntry& entry : parse_safetensors(file.bytes(), file.path().string())) {
    const auto indexed = index.shard_of.find(entry.name);
    const std::string shown = concat("tensor \"", shown_text(entry.name), "\"");
    if (indexed == index.shard_of.end()) {
      fail("I10", file.path(), concat("holds ", shown, ", which ", kIndexFile, " does not list"));
    }
    if (indexed->second != shard) {
      fail("I11", file.path(),
           concat("holds ", shown, ", which ", kIndexFile, " places in ", indexed->second));
    }
    std::string name = entry.name;
    tensors.emplace(std::move(name), std::move(entry));
  }
}

void check_all_found(const ShardIndex& index, const Tensors& tensors, const fs::path& folder) {
  for (const auto& [name, shard] : index.shard_of) {
    if (!tensors.contains(name)) {
      fail("I9", folder / kIndexFile,
           concat("places tensor \"", shown_text(name), "\" in ", shard,
                  ", which has no such tensor"));
    }
  }
}

/// model.safetensors beside an index that does not name it: both must say the same.
void check_agrees(const MappedFile& single, const Tensors& tensors) {
  const std::vector<TensorEntry> entries =
      parse_safetensors(single.bytes(), single.path().string());
  const auto same = [&](const TensorEntry& entry) {
    const auto other = tensors.find(entry.name);
    return other != tensors.end() && other->second.dtype == entry.dtype &&
           other->second.shape == entry.shape &&
           std::equal(entry.bytes.begin(), entry.bytes.end(), other->second.bytes.begin(),
                      other->second.bytes.end());
  };
  const auto differing = std::find_if_not(entries.begin(), entries.end(), same);
  if (differing == entries.end() && entries.size() == tensors.size()) return;
  const std::string what =
      differing == entries.end()
          ? concat("has ", entries.size(), " tensors, the index ", tensors.size())
          : concat("differs in tensor \"", shown_text(differing->name), "\"");
  fail("I14", single.path(),
       concat(what, "; ", kIndexFile, " beside it describes other shards: remove one of the two"));
}

}  // namespace

TensorStore TensorStore::open(const fs::path& folder) {
  check_folder(folder);
  TensorStore store;
  store.folder_ = folder;
  const bool single = present(folder / kSingleFile);
  if (present(folder / kIndexFile)) {
    store.open_index();
    if (single && store.shards_.front()->path().filename() != kSingleFile) {
      check_agrees(*map_file(folder, kSingleFile, "S36"), store.tensors_);
    }
    return store;
  }
  if (!single) fail_without_weights(folder);
  store.shards_.push_back(map_file(folder, kSingleFile, "S36"));
  const MappedFile& file = *store.shards_.back();
  for (TensorEntry& entry : parse_safetensors(file.bytes(), file.path().string())) {
    std::string name = entry.name;
    store.tensors_.emplace(std::move(name), std::move(entry));
  }
  return store;
}

void TensorStore::open_index() {
  const fs::path path = folder_ / kIndexFile;
  const std::unique_ptr<MappedFile> file = map_file(folder_, kIndexFile, "I1");
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  const ShardIndex index = parse_shard_index(text, path.string());
  index_files_.push_back(path);
  check_present(folder_, index.shards);
  for (const std::string& shard : index.shards) {
    shards_.push_back(map_file(folder_, shard, "I8"));
    add_shard(*shards_.back(), index, tensors_);
  }
  check_all_found(index, tensors_, folder_);
  if (index.total_size && *index.total_size != total_bytes()) {
    warnings_.push_back(concat("I13: ", path.string(), " gives a total_size of ", *index.total_size,
                               " bytes, the tensors have ", total_bytes()));
  }
}

const TensorEntry* TensorStore::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return nullptr;
  const TensorEntry& entry = found->second;
  if (!entry.unreadable_dtype.empty()) {
    throw Error(ErrorKind::Unsupported, "S37",
                concat(folder_.string(), ": tensor \"", shown_text(name), "\" has dtype ",
                       entry.unreadable_dtype, ", which edgecompress does not read"));
  }
  return &entry;
}

const TensorEntry& TensorStore::get(std::string_view name) const {
  const TensorEntry* const entry = find(name);
  if (entry == nullptr) {
    throw Error(ErrorKind::Malformed, "C10",
                concat(folder_.string(), " has no tensor \"", shown_text(name), "\""));
  }
  return *entry;
}

std::vector<fs::path> TensorStore::files() const {
  std::vector<fs::path> paths = index_files_;
  for (const auto& shard : shards_) paths.push_back(shard->path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::uint64_t TensorStore::total_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : tensors_) bytes += entry.bytes.size();
  return bytes;
}

void TensorStore::drop(const TensorEntry& tensor) const {
  const std::byte* const first = tensor.bytes.data();
  for (const auto& shard : shards_) {
    const std::span<const std::byte> file = shard->bytes();
    const std::less<const std::byte*> before;  // defined across objects, unlike <
    if (!before(first, file.data()) && before(first, file.data() + file.size())) {
      shard->drop(tensor.bytes);
    }
  }
}

void TensorStore::ensure_unchanged() const {
  for (const auto& shard : shards_) shard->ensure_unchanged();
}

}  // namespace edgecompress
