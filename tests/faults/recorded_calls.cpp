// Preloaded into edgecompress by power_loss.py: notes every change below the folder
// EDGECOMPRESS_RECORD_WITHIN in the file EDGECOMPRESS_RECORD, in order. An entry is a line "call
// size flags" followed by two lines with paths and `size` bytes of data.

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

template <typename Function>
Function original(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

std::string path_of(int descriptor) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = ::readlink(link.c_str(), path, sizeof(path));
  return length < 0 ? std::string() : std::string(path, static_cast<std::size_t>(length));
}

std::string path_at(int folder, const char* path) {
  return *path == '/' || folder == AT_FDCWD ? path : path_of(folder) + "/" + path;
}

void note(const char* call, const std::string& path, const std::string& other = {},
          const void* data = nullptr, std::size_t size = 0, long flags = 0) {
  static const char* const log = std::getenv("EDGECOMPRESS_RECORD");
  static const char* const within = std::getenv("EDGECOMPRESS_RECORD_WITHIN");
  static std::mutex order;
  if (log == nullptr || within == nullptr || path.rfind(within, 0) != 0) return;
  std::string entry = std::string(call) + " " + std::to_string(size) + " " + std::to_string(flags) +
                      "\n" + path + "\n" + other + "\n";
  entry.append(static_cast<const char*>(data), size);
  const int error = errno;
  const std::lock_guard lock(order);
  static const auto real_open = original<int (*)(const char*, int, ...)>("open");
  static const int file = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (::syscall(SYS_write, file, entry.data(), entry.size()) < 0) std::abort();
  errno = error;
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* data, size_t size) {
  static const auto real = original<ssize_t (*)(int, const void*, size_t)>("write");
  const ssize_t written = real(descriptor, data, size);
  if (written > 0) {
    note("write", path_of(descriptor), {}, data, static_cast<std::size_t>(written));
  }
  return written;
}

int fsync(int descriptor) {
  static const auto real = original<int (*)(int)>("fsync");
  const int result = real(descriptor);
  if (result == 0) note("fsync", path_of(descriptor));
  return result;
}

int ftruncate(int descriptor, off_t size) noexcept {
  static const auto real = original<int (*)(int, off_t)>("ftruncate");
  const int result = real(descriptor, size);
  if (result == 0) note("ftruncate", path_of(descriptor), {}, nullptr, 0, size);
  return result;
}

int open(const char* path, int flags, ...) {
  static const auto real = original<int (*)(const char*, int, ...)>("open");
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  const int descriptor = real(path, flags, mode);
  if (descriptor >= 0 && (flags & O_CREAT) != 0) {
    note("create", path, {}, nullptr, 0, (flags & O_TRUNC) != 0 ? 1 : 0);
  }
  return descriptor;
}

int mkdir(const char* path, mode_t mode) noexcept {
  static const auto real = original<int (*)(const char*, mode_t)>("mkdir");
  const int result = real(path, mode);
  if (result == 0) note("mkdir", path);
  return result;
}

int unlink(const char* path) noexcept {
  static const auto real = original<int (*)(const char*)>("unlink");
  const int result = real(path);
  if (result == 0) note("unlink", path);
  return result;
}

int remove(const char* path) noexcept {
  static const auto real = original<int (*)(const char*)>("remove");
  const int result = real(path);
  if (result == 0) note("unlink", path);
  return result;
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  static const auto real = original<int (*)(int, const char*, int)>("unlinkat");
  const std::string whole = path_at(folder, path);
  const int result = real(folder, path, flags);
  if (result == 0) note("unlink", whole);
  return result;
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = original<int (*)(const char*, const char*)>("rename");
  const int result = real(from, to);
  if (result == 0) note("rename", from, to);
  return result;
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned flags) noexcept {
  static const auto real =
      original<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
  const int result = real(from_folder, from, to_folder, to, flags);
  if (result == 0) note("rename", from, to, nullptr, 0, flags);
  return result;
}

}  // extern "C"
