#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/safetensors.h"

namespace edgecompress {

/// The tensors of a model folder, opened read-only: name -> dtype, shape, bytes. The folder holds
/// either model.safetensors or model.safetensors.index.json with its shards. Files stay mapped;
/// nothing is copied.
class TensorStore {
 public:
  /// Checks every header and the index before it returns.
  /// Throws Error{Missing} when the folder or a shard is absent (all missing shards are listed),
  /// Error{Malformed} with codes S* and I* (docs/security.md), Error{Unsupported} for pickled
  /// checkpoints, with how to convert them.
  static TensorStore open(const std::filesystem::path& folder);

  /// Returns the tensor of that name, or nullptr. Valid as long as the store lives.
  /// Throws Error{Unsupported} S37 when it is there in a dtype that edgecompress does not read.
  const TensorEntry* find(std::string_view name) const;

  /// The same. Throws Error{Malformed} naming the tensor and the folder when it is absent.
  const TensorEntry& get(std::string_view name) const;

  /// All tensors in name order.
  const std::map<std::string, TensorEntry, std::less<>>& tensors() const { return tensors_; }

  /// The files in name order: shards, and the index when there is one.
  std::vector<std::filesystem::path> files() const;

  /// Bytes of all tensors.
  std::uint64_t total_bytes() const;

  /// Lets the kernel take back the tensor's pages: for walks that are done with it.
  void drop(const TensorEntry& tensor) const;

  /// Throws Error{Io} when a mapped file changed since it was opened.
  void ensure_unchanged() const;

  const std::filesystem::path& folder() const { return folder_; }

  /// What is odd but no reason to refuse, ready to print: a wrong total_size in the index.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  TensorStore() = default;
  void open_index();

  std::filesystem::path folder_;
  std::vector<std::filesystem::path> index_files_;
  std::vector<std::unique_ptr<MappedFile>> shards_;
  std::map<std::string, TensorEntry, std::less<>> tensors_;
  std::vector<std::string> warnings_;
};

}  // namespace edgecompress
