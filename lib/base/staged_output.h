#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"

namespace edgecompress {

/// What may happen to a folder that is already there.
enum class ExistingOutput { Refuse, Replace };

/// What happens to the unpublished files of an earlier run with the same target.
enum class Leftovers {
  Delete,
  Keep,  ///< until start_over() or delete_all_but(): a run may go on with them
};

/// Where the files of an output are until it is published: "<target>.partial".
std::filesystem::path staging_place(const std::filesystem::path& target);

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
/// Files are written to "<target>.partial/output" beside the target; publish() syncs that folder
/// and renames it. A reader sees no output, the old output, or the complete new one. What a run
/// needs to be continued lies in "<target>.partial/resume". Whatever was not published is deleted,
/// unless keep_unpublished() was called.
class StagedFolder {
 public:
  /// Refuses before any work: a target that exists (unless Replace and it holds an edgecompress
  /// manifest or is empty), that lies inside an input or holds one, whose parent is missing or not
  /// writable, or that another process is writing. inputs:  folders and files that will be read.
  /// Throws   Error{Output}, Error{Usage} for target and input nested, Error{Conflict} for a second
  /// writer.
  StagedFolder(const std::filesystem::path& target,
               const std::vector<std::filesystem::path>& inputs, ExistingOutput existing,
               Leftovers leftovers = Leftovers::Delete);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  /// Where files are written until publish().
  const std::filesystem::path& path() const { return output_; }

  /// Where files lie that help to continue a run; never part of the output.
  const std::filesystem::path& state_path() const { return state_; }
  const std::filesystem::path& target() const { return target_; }

  /// Creates a file of that name (one or more components, no ".."). `expected_bytes` > 0 reserves
  /// the space at once, so that a full disk shows before the work. Throws Error{Io} or
  /// Error{Output}.
  StagedFile create(const std::filesystem::path& name, std::uint64_t expected_bytes = 0);

  /// Writes a small file whole. Returns its SHA-256.
  std::string write(const std::filesystem::path& name, std::string_view content);

  /// The same in state_path(). A file of that name is replaced.
  StagedFile create_state(const std::string& name, std::uint64_t expected_bytes);

  /// Deletes everything unpublished, also of an earlier run.
  void start_over();

  /// Deletes what an earlier run left but for these files, by name -> SHA-256.
  void delete_all_but(const std::map<std::string, std::string>& output_files,
                      const std::map<std::string, std::string>& state_files,
                      const std::string& state_file);

  /// True when an earlier run was killed after it had published, or just before: there is no
  /// unpublished output, or one with its manifest.
  bool holds_finished_leftovers() const;

  /// Whether what is not published stays where it is when this object goes. Until it is said,
  /// leftovers of an earlier run stay, and files of this one do not.
  void keep_unpublished() { keep_ = true; }
  void delete_unpublished() { keep_ = false; }

  /// Makes the names of all files so far last. Throws Error{Io}.
  void sync() const;

  /// Syncs and renames to the target. Call once, last. Throws Error{Io}.
  /// discarded: folders of the output that are not part of what is published; an interrupted run
  /// may go on from them until here.
  void publish(const std::vector<std::string>& discarded = {});

 private:
  void take_lock();
  void release_lock();

  std::filesystem::path target_;
  std::filesystem::path staging_;
  std::filesystem::path output_;
  std::filesystem::path state_;
  int lock_ = -1;
  ExistingOutput existing_;
  bool published_ = false;
  bool keep_ = false;
};

/// Writes one file by a synced temporary sibling and a rename. Throws Error{Output} when the folder
/// is missing or not writable, Error{Io} otherwise.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace edgecompress
