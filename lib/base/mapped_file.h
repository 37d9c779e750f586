#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace edgecompress {

/// A regular file mapped read-only. Pages are read when touched and can be dropped behind a walk.
class MappedFile {
 public:
  /// Throws Error{Missing} when `path` is absent, unreadable or not a regular file (a pipe never
  /// blocks).
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// The whole file. Valid as long as this object lives.
  std::span<const std::byte> bytes() const { return bytes_; }

  /// The modification time at opening, in nanoseconds since 1970.
  std::int64_t modified_ns() const { return modified_ns_; }

  /// Lets the kernel take back the pages wholly inside `part`, which must be a part of bytes().
  void drop(std::span<const std::byte> part) const;

  /// Throws Error{Io} when the file's size or modification time is no longer what it was at
  /// opening.
  void ensure_unchanged() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::span<const std::byte> bytes_;
  std::int64_t modified_ns_ = 0;
};

/// Reads a whole file of at most `limit_bytes`.
/// Throws Error{Missing} as MappedFile, Error{Malformed} when it is larger.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit_bytes);

}  // namespace edgecompress
