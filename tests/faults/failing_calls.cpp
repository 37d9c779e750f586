// Preloaded into edgecompress by the scripts beside it: makes one system call or allocation fail,
// as a full or broken disk or a full memory would.
//
// EDGECOMPRESS_FAIL is "call:error:n" or "call:error:n:sticky": the n-th `call` on a watched file
// fails with `error`, an errno's number, or "short" (half of the bytes are written). Sticky: all
// later ones fail too. "page" as a call: the n-th mapping of a watched file loses its last page, so
// that reading there ends as on a broken disk, with SIGBUS.
// EDGECOMPRESS_FAIL_WITHIN: watched are the files below this folder; without it those below a
// folder
// "*.partial".
// EDGECOMPRESS_FAIL_IN: only the program of this file name fails; the launcher and the engine make
// the same calls.
// EDGECOMPRESS_FAIL_SERVE: a folder with two named pipes. The program stops at its first watched
// file; for every plan of kRecord bytes in the pipe "plans" a copy of it goes on, which has that
// plan, and how it ended (waitpid's status) is written to "ends". So the start of the program,
// which takes most of the time, is made once.
// EDGECOMPRESS_FAIL_COUNT: how often each call was made is appended to this file, one line "program
// call count" each.

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" void* __libc_malloc(size_t size);
extern "C" void* __libc_calloc(size_t count, size_t size);
extern "C" void* __libc_realloc(void* memory, size_t size);
extern "C" void* __libc_memalign(size_t alignment, size_t size);

namespace {

constexpr int kShort = -1;
constexpr std::size_t kLargeAllocation = 64 << 10;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kRecord = 64;  // a plan, padded with 0

constexpr std::array kCalls{
    "write",    "writev", "read",      "fsync",   "close",    "ftruncate", "posix_fallocate",
    "create",   "open",   "openat",    "mkdir",   "rename",   "renameat2", "unlink",
    "unlinkat", "remove", "mmap",      "page",    "stat",     "lstat",     "fstat",
    "statvfs",  "flock",  "fdopendir", "readdir", "realpath", "execv",     "malloc",
    "memory"};

std::array<std::atomic<int>, kCalls.size()> counts{};

// Nothing here may allocate: an allocation would count itself.
struct Plan {
  char call[32] = {};
  int error = 0;
  int turn = 0;
  bool sticky = false;
  const char* within = nullptr;
  char program[256] = {};
  bool here = true;
};

/// "call:error:n" with ":sticky" or without.
void read_plan(const char* text, Plan& plan) {
  char error[32] = {};
  char sticky[32] = {};
  plan.call[0] = 0;
  if (text == nullptr ||
      std::sscanf(text, "%31[^:]:%31[^:]:%d:%31s", plan.call, error, &plan.turn, sticky) < 3) {
    plan.call[0] = 0;
    return;
  }
  plan.error = std::strcmp(error, "short") == 0 ? kShort : std::atoi(error);
  plan.sticky = sticky[0] != 0;
}

Plan& plan() {
  static Plan plan;
  static std::atomic<bool> read{false};
  static std::atomic_flag reading = ATOMIC_FLAG_INIT;
  if (read.load()) return plan;
  if (reading.test_and_set()) return plan;  // this thread itself: the program has not begun yet
  plan.within = std::getenv("EDGECOMPRESS_FAIL_WITHIN");
  const ssize_t length = ::readlink("/proc/self/exe", plan.program, sizeof(plan.program) - 1);
  plan.program[length < 0 ? 0 : length] = 0;
  const char* const slash = std::strrchr(plan.program, '/');
  if (slash != nullptr) std::memmove(plan.program, slash + 1, std::strlen(slash));
  const char* const only = std::getenv("EDGECOMPRESS_FAIL_IN");
  plan.here = only == nullptr || std::strcmp(only, plan.program) == 0;
  read_plan(std::getenv("EDGECOMPRESS_FAIL"), plan);
  read.store(true);
  return plan;
}

bool is_watched(const char* path) {
  const char* const within = plan().within;
  if (path == nullptr) return false;
  if (within == nullptr) return std::strstr(path, ".partial") != nullptr;
  return std::strncmp(path, within, std::strlen(within)) == 0;
}

bool is_watched(int descriptor) {
  char link[64];
  char path[4096];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
  const ssize_t length = ::readlink(link, path, sizeof(path) - 1);
  if (length < 0) return false;
  path[length] = 0;
  return is_watched(path);
}

/// Allocations are counted from the first watched file on: what the loader and the libraries need
/// to start is not the program's doing.
std::atomic<bool> begun{false};

std::size_t index_of(const char* call) {
  for (std::size_t i = 0; i < kCalls.size(); ++i) {
    if (std::strcmp(kCalls[i], call) == 0) return i;
  }
  std::abort();
}

/// Counts a call on something watched. Returns the error it has to fail with, or 0.
int counted(const char* call) {
  const Plan& now = plan();
  if (!now.here) return 0;
  const int turn = ++counts[index_of(call)];
  if (std::strcmp(now.call, call) != 0) return 0;
  return turn == now.turn || (now.sticky && turn > now.turn) ? now.error : 0;
}

int open_pipe(const char* name, int flags) {
  char path[4096];
  std::snprintf(path, sizeof(path), "%s/%s", std::getenv("EDGECOMPRESS_FAIL_SERVE"), name);
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC));
}

/// Returns in a copy of the process for each plan, never in the process itself.
void serve() {
  const int plans = open_pipe("plans", O_RDONLY);
  const int ends = open_pipe("ends", O_WRONLY);
  char record[kRecord];
  while (::syscall(SYS_read, plans, record, kRecord) == static_cast<long>(kRecord)) {
    const pid_t copy = ::fork();
    if (copy == 0) {
      ::syscall(SYS_close, plans);
      ::syscall(SYS_close, ends);
      read_plan(record, plan());
      return;
    }
    int status = 0;
    ::waitpid(copy, &status, 0);
    ::syscall(SYS_write, ends, &status, sizeof(status));
  }
  ::_exit(0);
}

template <typename File>
int failure(const char* call, File file) {
  if (!is_watched(file)) return 0;
  const bool first = !begun.exchange(true);
  if (first && plan().here && std::getenv("EDGECOMPRESS_FAIL_SERVE") != nullptr) serve();
  return counted(call);
}

template <typename Function>
Function original(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int failed(int error) {
  errno = error;
  return -1;
}

bool memory_fails(std::size_t size) {
  if (!begun.load(std::memory_order_relaxed)) return false;
  const bool large = size >= kLargeAllocation && counted("malloc") != 0;
  return counted("memory") != 0 || large;
}

void* no_memory() {
  errno = ENOMEM;
  return nullptr;
}

/// Says how often each call was made; as the last of a program that ends or becomes another.
void write_counts() {
  const char* const path = std::getenv("EDGECOMPRESS_FAIL_COUNT");
  if (path == nullptr) return;
  std::FILE* const file = std::fopen(path, "a");
  if (file == nullptr) return;
  for (std::size_t i = 0; i < kCalls.size(); ++i) {
    std::fprintf(file, "%s %s %d\n", plan().program, kCalls[i], counts[i].load());
  }
  std::fclose(file);
}

__attribute__((destructor)) void finish() { write_counts(); }

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* data, size_t size) {
  static const auto real = original<ssize_t (*)(int, const void*, size_t)>("write");
  const int error = failure("write", descriptor);
  if (error == kShort) return real(descriptor, data, (size + 1) / 2);
  return error != 0 ? failed(error) : real(descriptor, data, size);
}

ssize_t writev(int descriptor, const struct iovec* parts, int count) {
  static const auto real = original<ssize_t (*)(int, const struct iovec*, int)>("writev");
  const int error = failure("writev", descriptor);
  return error != 0 ? failed(error) : real(descriptor, parts, count);
}

ssize_t read(int descriptor, void* data, size_t size) {
  static const auto real = original<ssize_t (*)(int, void*, size_t)>("read");
  const int error = failure("read", descriptor);
  return error != 0 ? failed(error) : real(descriptor, data, size);
}

int fsync(int descriptor) {
  static const auto real = original<int (*)(int)>("fsync");
  const int error = failure("fsync", descriptor);
  return error != 0 ? failed(error) : real(descriptor);
}

int close(int descriptor) {
  static const auto real = original<int (*)(int)>("close");
  const int error = failure("close", descriptor);
  const int result = real(descriptor);
  return error != 0 ? failed(error) : result;
}

int ftruncate(int descriptor, off_t size) noexcept {
  static const auto real = original<int (*)(int, off_t)>("ftruncate");
  const int error = failure("ftruncate", descriptor);
  return error != 0 ? failed(error) : real(descriptor, size);
}

int posix_fallocate(int descriptor, off_t offset, off_t size) {
  static const auto real = original<int (*)(int, off_t, off_t)>("posix_fallocate");
  const int error = failure("posix_fallocate", descriptor);
  return error != 0 ? error : real(descriptor, offset, size);
}

int open(const char* path, int flags, ...) {
  static const auto real = original<int (*)(const char*, int, ...)>("open");
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  const int error = failure((flags & O_CREAT) != 0 ? "create" : "open", path);
  return error != 0 ? failed(error) : real(path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  static const auto real = original<int (*)(int, const char*, int, ...)>("openat");
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  const bool watched = is_watched(path) || (folder != AT_FDCWD && is_watched(folder));
  const int error = watched ? counted("openat") : 0;
  return error != 0 ? failed(error) : real(folder, path, flags, mode);
}

DIR* fdopendir(int descriptor) {
  static const auto real = original<DIR* (*)(int)>("fdopendir");
  const int error = failure("fdopendir", descriptor);
  if (error == 0) return real(descriptor);
  errno = error;
  return nullptr;
}

struct dirent* readdir(DIR* folder) {
  static const auto real = original<struct dirent* (*)(DIR*)>("readdir");
  const int error = failure("readdir", ::dirfd(folder));
  if (error == 0) return real(folder);
  errno = error;
  return nullptr;
}

int mkdir(const char* path, mode_t mode) noexcept {
  static const auto real = original<int (*)(const char*, mode_t)>("mkdir");
  const int error = failure("mkdir", path);
  return error != 0 ? failed(error) : real(path, mode);
}

int unlink(const char* path) noexcept {
  static const auto real = original<int (*)(const char*)>("unlink");
  const int error = failure("unlink", path);
  return error != 0 ? failed(error) : real(path);
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  static const auto real = original<int (*)(int, const char*, int)>("unlinkat");
  const bool watched = is_watched(path) || (folder != AT_FDCWD && is_watched(folder));
  const int error = watched ? counted("unlinkat") : 0;
  return error != 0 ? failed(error) : real(folder, path, flags);
}

int remove(const char* path) noexcept {
  static const auto real = original<int (*)(const char*)>("remove");
  const int error = failure("remove", path);
  return error != 0 ? failed(error) : real(path);
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = original<int (*)(const char*, const char*)>("rename");
  const int error = failure("rename", from);
  return error != 0 ? failed(error) : real(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned flags) noexcept {
  static const auto real =
      original<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
  const int error = failure("renameat2", from);
  return error != 0 ? failed(error) : real(from_folder, from, to_folder, to, flags);
}

int stat(const char* path, struct stat* status) noexcept {
  static const auto real = original<int (*)(const char*, struct stat*)>("stat");
  const int error = failure("stat", path);
  return error != 0 ? failed(error) : real(path, status);
}

int lstat(const char* path, struct stat* status) noexcept {
  static const auto real = original<int (*)(const char*, struct stat*)>("lstat");
  const int error = failure("lstat", path);
  return error != 0 ? failed(error) : real(path, status);
}

int fstat(int descriptor, struct stat* status) noexcept {
  static const auto real = original<int (*)(int, struct stat*)>("fstat");
  const int error = failure("fstat", descriptor);
  return error != 0 ? failed(error) : real(descriptor, status);
}

// As programs for older versions of the C library call them.

int __xstat(int version, const char* path, struct stat* status) noexcept {
  static const auto real = original<int (*)(int, const char*, struct stat*)>("__xstat");
  const int error = failure("stat", path);
  return error != 0 ? failed(error) : real(version, path, status);
}

int __lxstat(int version, const char* path, struct stat* status) noexcept {
  static const auto real = original<int (*)(int, const char*, struct stat*)>("__lxstat");
  const int error = failure("lstat", path);
  return error != 0 ? failed(error) : real(version, path, status);
}

int statvfs(const char* path, struct statvfs* space) noexcept {
  static const auto real = original<int (*)(const char*, struct statvfs*)>("statvfs");
  const int error = failure("statvfs", path);
  return error != 0 ? failed(error) : real(path, space);
}

int flock(int descriptor, int operation) noexcept {
  static const auto real = original<int (*)(int, int)>("flock");
  const int error = failure("flock", descriptor);
  return error != 0 ? failed(error) : real(descriptor, operation);
}

char* realpath(const char* path, char* resolved) noexcept {
  static const auto real = original<char* (*)(const char*, char*)>("realpath");
  const int error = failure("realpath", path);
  if (error == 0) return real(path, resolved);
  errno = error;
  return nullptr;
}

void* mmap(void* address, size_t size, int protection, int flags, int descriptor,
           off_t offset) noexcept {
  static const auto real = original<void* (*)(void*, size_t, int, int, int, off_t)>("mmap");
  if (descriptor < 0) return real(address, size, protection, flags, descriptor, offset);
  const int error = failure("mmap", descriptor);
  if (error != 0) {
    errno = error;
    return MAP_FAILED;
  }
  void* const data = real(address, size, protection, flags, descriptor, offset);
  if (data == MAP_FAILED || failure("page", descriptor) == 0) return data;
  const int nothing = ::memfd_create("failing-page", MFD_CLOEXEC);
  char* const last = static_cast<char*>(data) + (size - 1) / kPage * kPage;
  real(last, kPage, protection, MAP_SHARED | MAP_FIXED, nothing, 0);
  ::close(nothing);
  return data;
}

int execv(const char* program, char* const* arguments) noexcept {
  static const auto real = original<int (*)(const char*, char* const*)>("execv");
  write_counts();
  begun.store(false);
  const int error = counted("execv");
  return error != 0 ? failed(error) : real(program, arguments);
}

void _Exit(int status) noexcept {
  write_counts();
  ::_exit(status);
}

void* malloc(size_t size) noexcept {
  return memory_fails(size) ? no_memory() : __libc_malloc(size);
}

void* calloc(size_t count, size_t size) noexcept {
  return memory_fails(count * size) ? no_memory() : __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size) noexcept {
  return memory_fails(size) ? no_memory() : __libc_realloc(memory, size);
}

void* aligned_alloc(size_t alignment, size_t size) noexcept {
  return memory_fails(size) ? no_memory() : __libc_memalign(alignment, size);
}

void* memalign(size_t alignment, size_t size) noexcept {
  return memory_fails(size) ? no_memory() : __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  if (memory_fails(size)) return ENOMEM;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"
