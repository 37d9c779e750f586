#include "base/staged_output.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/kill_point.h"
#include "base/output_writer.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "edgecompress.manifest.json";
constexpr const char* kOutputPart = "output";
constexpr const char* kStatePart = "resume";

[[noreturn]] void fail_output(const fs::path& path, const std::string& why) {
  throw Error(ErrorKind::Output, "O-CREATE", concat("cannot create ", path.string(), ": ", why));
}

[[noreturn]] void fail_write(const fs::path& path, int error, std::uint64_t needed_bytes) {
  struct statvfs space{};
  std::string hint;
  if (error == ENOSPC && ::statvfs(path.parent_path().c_str(), &space) == 0) {
    hint = concat("; needed ", needed_bytes, " more bytes, free are ",
                  static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize,
                  ". Free some space and run again");
  }
  throw Error(ErrorKind::Io, "F-WRITE",
              concat("writing ", path.string(), " failed: ", std::strerror(error), hint));
}

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return;  // a folder that may be written but not read: its entries still sync with the disk
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (result != 0 && error != EINVAL) fail_write(folder / ".", error, 0);
}

bool contains(const fs::path& outer, const fs::path& inner) {
  const auto [outer_end, inner_end] =
      std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return outer_end == outer.end();
}

fs::path resolved(const fs::path& path) {
  if (path.empty()) fail_output(path, "a name is needed, and this one is empty");
  std::error_code error;
  fs::path absolute = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) fail_output(path, error.message());
  if (!absolute.has_filename()) absolute = absolute.parent_path();  // "out/" is "out"
  return absolute;
}

void refuse_nesting(const fs::path& target, const std::vector<fs::path>& inputs) {
  for (const fs::path& given : inputs) {
    const fs::path input = resolved(given);
    if (contains(input, target) || contains(target, input)) {
      throw Error(ErrorKind::Usage, "O-NESTED",
                  concat("output ", target.string(), " and input ", given.string(),
                         " lie inside each other; choose an output folder elsewhere"));
    }
  }
}

bool may_be_replaced(const fs::path& target) {
  return fs::is_directory(target) && (fs::is_empty(target) || fs::exists(target / kManifest));
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail_output(path, error.message());
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

void refuse_target(const fs::path& target, ExistingOutput existing) {
  if (!fs::exists(target)) return;
  if (existing == ExistingOutput::Refuse) {
    fail_output(target, "it exists; give --overwrite to replace it");
  }
  if (!may_be_replaced(target)) {
    fail_output(target, "it exists and was not written by edgecompress; remove it yourself");
  }
}

/// False when the lock's holder deleted the file between its being opened and locked: the lock then
/// keeps out nobody who opens the path anew.
bool is_file_at(int descriptor, const fs::path& path) {
  struct stat opened{};
  struct stat named{};
  return ::fstat(descriptor, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

fs::path lock_of(const fs::path& target) { return target.string() + ".lock"; }

/// writer_of() holds a shared lock for a moment, which is no reason to refuse a run.
bool locked_exclusively(int lock) {
  constexpr int kTries = 3;
  constexpr useconds_t kBetween = 20'000;  // microseconds
  for (int i = 0; i < kTries; ++i) {
    if (::flock(lock, LOCK_EX | LOCK_NB) == 0) return true;
    ::usleep(kBetween);
  }
  return false;
}

std::string name_of_writer(const fs::path& target) {
  const std::optional<OutputWriter> writer = writer_of(target);
  if (!writer || writer->pid == 0) return "it";
  return concat("process ", writer->pid, " on ", writer->host);
}

/// Only what looks like ours is ever taken up or deleted.
void refuse_foreign_staging(const fs::path& place) {
  const fs::file_status status = fs::symlink_status(place);
  if (!fs::exists(status)) return;
  bool ours = fs::is_directory(status);
  if (ours) {
    for (const fs::directory_entry& entry : fs::directory_iterator(place)) {
      const std::string name = entry.path().filename().string();
      ours = ours && (name == kOutputPart || name == kStatePart);
    }
  }
  if (ours) return;
  fail_output(place, "it exists and holds other things than a run of edgecompress leaves; move it");
}

}  // namespace

std::optional<OutputWriter> writer_of(const fs::path& target) {
  const fs::path lock_path = lock_of(resolved(target));
  const int lock = ::open(lock_path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (lock < 0) return std::nullopt;
  const bool held = ::flock(lock, LOCK_SH | LOCK_NB) != 0;
  ::close(lock);
  if (!held) return std::nullopt;
  OutputWriter writer;
  std::ifstream(lock_path) >> writer.pid >> writer.host;
  return writer;
}

bool was_killed(const fs::path& target) {
  std::error_code error;
  return fs::is_regular_file(lock_of(resolved(target)), error) && !writer_of(target);
}

fs::path staging_place(const fs::path& target) { return resolved(target).string() + ".partial"; }

StagedFile::StagedFile(fs::path path, std::uint64_t expected_bytes) : path_(std::move(path)) {
  kill_point("file-create");
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_output(path_, std::strerror(errno));
  if (expected_bytes > 0) {
    const int error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(expected_bytes));
    if (error == ENOSPC || error == EFBIG) {
      ::close(descriptor_);
      fail_write(path_, error, expected_bytes);
    }
  }
}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      hash_(std::move(other.hash_)) {}

StagedFile::~StagedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void StagedFile::append(std::span<const std::byte> bytes) {
  ensure(descriptor_ >= 0, "an open file");
  std::span<const std::byte> rest = bytes;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_write(path_, errno, rest.size());
    rest = rest.subspan(static_cast<std::size_t>(written));
  }
  hash_.add(bytes);
  size_ += bytes.size();
}

void StagedFile::append(std::string_view text) {
  append(std::as_bytes(std::span(text.data(), text.size())));
}

void StagedFile::pad_to(std::uint64_t alignment) {
  const std::uint64_t padding = (alignment - size_ % alignment) % alignment;
  append(std::vector<std::byte>(padding));
}

std::string StagedFile::close() {
  ensure(descriptor_ >= 0, "an open file");
  kill_point("file-written");
  const bool trimmed = ::ftruncate(descriptor_, static_cast<off_t>(size_)) == 0;
  const bool synced = trimmed && ::fsync(descriptor_) == 0;
  const int error = errno;
  const bool closed = ::close(std::exchange(descriptor_, -1)) == 0;
  if (!synced) fail_write(path_, error, 0);
  if (!closed) fail_write(path_, errno, 0);
  kill_point("file-closed");
  return hash_.hex_digest();
}

StagedFolder::StagedFolder(const fs::path& target, const std::vector<fs::path>& inputs,
                           ExistingOutput existing, Leftovers leftovers)
    : target_(resolved(target)), existing_(existing) {
  refuse_nesting(target_, inputs);
  const fs::path parent = target_.parent_path();
  if (!fs::is_directory(parent)) fail_output(target_, concat(parent.string(), " is not a folder"));
  refuse_target(target_, existing);
  take_lock();
  try {
    refuse_target(target_, existing);  // the lock's last holder may have published since
    const fs::path place = staging_place(target_);
    refuse_foreign_staging(place);
    staging_ = place;
    output_ = place / kOutputPart;
    state_ = place / kStatePart;
    keep_ = leftovers == Leftovers::Keep && fs::exists(place);
    if (leftovers == Leftovers::Delete) start_over();
    make_folder(output_);
  } catch (...) {
    release_lock();
    throw;
  }
}

void StagedFolder::take_lock() {
  const fs::path lock_path = lock_of(target_);
  while (lock_ < 0) {
    lock_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (lock_ < 0) fail_output(target_, std::strerror(errno));
    if (!locked_exclusively(lock_)) {
      ::close(std::exchange(lock_, -1));
      throw Error(ErrorKind::Conflict, "O-LOCKED",
                  concat("another run is writing ", target_.string(), " (", name_of_writer(target_),
                         " holds ", lock_path.string(), "); wait for it or choose another output"));
    }
    if (!is_file_at(lock_, lock_path)) ::close(std::exchange(lock_, -1));
  }
  // Only for people and for writer_of(): a lock that does not say whose it is still locks.
  const std::string holder = concat(::getpid(), " ", host_name(), "\n");
  [[maybe_unused]] const bool emptied = ::ftruncate(lock_, 0) == 0;
  [[maybe_unused]] const ssize_t written = ::write(lock_, holder.data(), holder.size());
}

void StagedFolder::release_lock() {
  std::error_code ignored;
  fs::remove(lock_of(target_), ignored);
  ::close(std::exchange(lock_, -1));
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  if (!published_ && !keep_) fs::remove_all(staging_, ignored);
  release_lock();
}

StagedFile StagedFolder::create(const fs::path& name, std::uint64_t expected_bytes) {
  ensure(name.is_relative() && name.lexically_normal().string().find("..") == std::string::npos,
         "a name inside the staged folder");
  std::error_code error;
  if (name.has_parent_path()) fs::create_directories(output_ / name.parent_path(), error);
  return {output_ / name, expected_bytes};
}

StagedFile StagedFolder::create_state(const std::string& name, std::uint64_t expected_bytes) {
  make_folder(state_);
  std::error_code ignored;
  fs::remove(state_ / name, ignored);
  return {state_ / name, expected_bytes};
}

void StagedFolder::start_over() {
  std::error_code error;
  fs::remove_all(staging_, error);
  if (error) fail_output(staging_, concat("what an earlier run left there: ", error.message()));
  keep_ = false;
  make_folder(output_);
}

void StagedFolder::delete_all_but(const std::map<std::string, std::string>& output_files,
                                  const std::map<std::string, std::string>& state_files,
                                  const std::string& state_file) {
  std::vector<fs::path> stale;
  std::vector<fs::path> folders;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(staging_)) {
    if (entry.is_directory() && !entry.is_symlink()) {
      folders.push_back(entry.path());
      continue;
    }
    const fs::path name = fs::relative(entry.path(), staging_);
    const std::string part = name.begin()->string();
    const std::string rest = name.lexically_relative(part).string();
    const bool kept = part == kOutputPart ? output_files.count(rest) > 0
                                          : rest == state_file || state_files.count(rest) > 0;
    if (!kept) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path);
  for (const fs::path& path : folders) {
    if (path != output_ && path != state_ && fs::is_empty(path)) fs::remove(path);
  }
}

bool StagedFolder::holds_finished_leftovers() const {
  return fs::is_empty(output_) || fs::exists(output_ / kManifest);
}

void StagedFolder::sync() const {
  make_folder(state_);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(output_)) {
    if (entry.is_directory()) sync_folder(entry.path());
  }
  sync_folder(output_);
  sync_folder(staging_);
}

std::string StagedFolder::write(const fs::path& name, std::string_view content) {
  StagedFile file = create(name);
  file.append(content);
  return file.close();
}

void StagedFolder::publish(const std::vector<std::string>& discarded) {
  ensure(!published_, "an unpublished folder");
  make_folder(state_);
  for (const std::string& name : discarded) {
    if (fs::exists(output_ / name)) fs::rename(output_ / name, state_ / name);
    kill_point("publish-discarded");
  }
  sync();
  const bool swap = fs::exists(target_);
  refuse_target(target_, existing_);  // no run of ours, but anyone else may have made it
  const unsigned flags = swap ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  kill_point("publish-before");
  if (::renameat2(AT_FDCWD, output_.c_str(), AT_FDCWD, target_.c_str(), flags) != 0) {
    fail_write(target_, errno, 0);
  }
  kill_point("publish-after");
  published_ = true;
  std::error_code ignored;
  try {
    sync_folder(target_.parent_path());
  } catch (Error& error) {
    fs::remove_all(state_, ignored);  // there is nothing to go on with
    error.add_context(concat("making the name of ", target_.string(),
                             " last; it is complete, but may be gone after a power failure"));
    throw;
  }
  fs::remove_all(staging_, ignored);  // the journal, and after an exchange the old output
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path target = resolved(path);
  const fs::path temporary = target.string() + concat(".partial-", ::getpid());
  const int descriptor =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (descriptor < 0) fail_output(target, std::strerror(errno));
  std::size_t done = 0;
  bool good = true;
  while (good && done < content.size()) {
    const ssize_t written = ::write(descriptor, content.data() + done, content.size() - done);
    if (written < 0 && errno == EINTR) continue;
    good = written >= 0;
    done += good ? static_cast<std::size_t>(written) : 0;
  }
  good = good && ::fsync(descriptor) == 0;
  const int error = errno;
  good = ::close(descriptor) == 0 && good;
  if (!good || ::rename(temporary.c_str(), target.c_str()) != 0) {
    ::unlink(temporary.c_str());
    fail_write(target, error, content.size() - done);
  }
  sync_folder(target.parent_path());
}

}  // namespace edgecompress
