#include "base/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace edgecompress {
namespace {

[[noreturn]] void fail_missing(const std::filesystem::path& path, const std::string& why) {
  throw Error(ErrorKind::Missing, "F-OPEN", concat("cannot read ", path.string(), ": ", why));
}

std::int64_t modification_time(const struct stat& status) {
  return static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (descriptor_ < 0) fail_missing(path, std::strerror(errno));
  struct stat status{};
  const bool regular = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  if (!regular) {
    ::close(descriptor_);
    fail_missing(path, "it is not a regular file");
  }
  modified_ns_ = modification_time(status);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return;  // an empty mapping does not exist
  void* const data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    ::close(descriptor_);
    fail_missing(path, std::strerror(error));
  }
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      bytes_(std::exchange(other.bytes_, {})),
      modified_ns_(other.modified_ns_) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MappedFile::drop(std::span<const std::byte> part) const {
  if (part.empty()) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::byte* const first = part.data();
  const std::size_t lead = (page - reinterpret_cast<std::uintptr_t>(first) % page) % page;
  if (lead >= part.size()) return;
  const std::size_t whole = (part.size() - lead) / page * page;
  if (whole > 0) ::madvise(const_cast<std::byte*>(first + lead), whole, MADV_DONTNEED);
}

void MappedFile::ensure_unchanged() const {
  struct stat status{};
  const bool same = ::fstat(descriptor_, &status) == 0 &&
                    static_cast<std::size_t>(status.st_size) == bytes_.size() &&
                    modification_time(status) == modified_ns_;
  if (!same) {
    throw Error(ErrorKind::Io, "S38",
                concat(path_.string(), " changed while it was being read; nothing was published"));
  }
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit_bytes) {
  const MappedFile file(path);
  if (file.bytes().size() > limit_bytes) {
    throw Error(ErrorKind::Malformed, "F-SIZE",
                concat(path.string(), " has ", file.bytes().size(), " bytes; at most ", limit_bytes,
                       " are read"));
  }
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace edgecompress
