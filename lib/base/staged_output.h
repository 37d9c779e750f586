#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"

namespace edgecompress {

/// What may happen to a folder that is already there.
enum class ExistingOutput { Refuse, Replace };

/// A file inside a StagedFolder: written once, front to back or at given offsets, hashed, synced,
/// closed with checks.
class StagedFile {
 public:
  StagedFile(StagedFile&& other) noexcept;
  StagedFile& operator=(StagedFile&&) = delete;
  ~StagedFile();

  /// Appends; handles short writes and interruptions. Throws Error{Io} naming file, needed and free
  /// bytes.
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text);

  /// Appends zero bytes until size_bytes() is a multiple of `alignment`.
  void pad_to(std::uint64_t alignment);

  std::uint64_t size_bytes() const { return size_; }

  /// Syncs and closes. Returns the SHA-256 of the content. Throws Error{Io}; a failed sync is
  /// final.
  std::string close();

 private:
  friend class StagedFolder;
  StagedFile(std::filesystem::path path, std::uint64_t expected_bytes);

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  Sha256 hash_;
};

/// An output folder that appears under its name only when it is whole.
///
/// Files are written to "<target>.partial-<process id>" beside the target; publish() syncs the
/// folder and renames it. A reader sees no output, the old output, or the complete new one.
/// Whatever was not published is deleted.
class StagedFolder {
 public:
  /// Refuses before any work: a target that exists (unless Replace and it holds an edgecompress
  /// manifest or is empty), that lies inside an input or holds one, whose parent is missing or not
  /// writable, or that another process is writing. inputs:  folders and files that will be read.
  /// Throws   Error{Output}, Error{Usage} for target and input nested, Error{Conflict} for a second
  /// writer.
  StagedFolder(const std::filesystem::path& target,
               const std::vector<std::filesystem::path>& inputs, ExistingOutput existing);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  /// Where files are written until publish().
  const std::filesystem::path& path() const { return staging_; }
  const std::filesystem::path& target() const { return target_; }

  /// Creates a file of that name (one or more components, no ".."). `expected_bytes` > 0 reserves
  /// the space at once, so that a full disk shows before the work. Throws Error{Io} or
  /// Error{Output}.
  StagedFile create(const std::filesystem::path& name, std::uint64_t expected_bytes = 0);

  /// Writes a small file whole. Returns its SHA-256.
  std::string write(const std::filesystem::path& name, std::string_view content);

  /// Syncs and renames to the target. Call once, last. Throws Error{Io}.
  void publish();

 private:
  std::filesystem::path target_;
  std::filesystem::path staging_;
  int lock_ = -1;
  ExistingOutput existing_;
  bool published_ = false;
};

/// Writes one file by a synced temporary sibling and a rename. Throws Error{Output} when the folder
/// is missing or not writable, Error{Io} otherwise.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace edgecompress
