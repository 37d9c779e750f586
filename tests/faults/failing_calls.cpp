// Preloaded into edgecompress by fault_runs.py: makes one system call on unpublished files fail, as
// a full or broken disk would.
//
// EDGECOMPRESS_FAIL is "call:error:n" or "call:error:n:sticky": the n-th `call` on a file below a
// folder "*.partial" fails with `error`, an errno's number, or "short" (half of the bytes are
// written). Sticky: all later ones fail too.

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

extern "C" void* __libc_malloc(size_t size);
extern "C" void* __libc_memalign(size_t alignment, size_t size);

namespace {

constexpr int kShort = -1;
constexpr std::size_t kLargeAllocation = 64 << 10;

struct Plan {
  std::string call;
  int error = 0;
  int turn = 0;
  bool sticky = false;
};

Plan read_plan() {
  Plan plan;
  const char* const text = std::getenv("EDGECOMPRESS_FAIL");
  char call[32] = {};
  char error[32] = {};
  char sticky[32] = {};
  if (text == nullptr ||
      std::sscanf(text, "%31[^:]:%31[^:]:%d:%31s", call, error, &plan.turn, sticky) < 3) {
    return plan;
  }
  plan.call = call;
  plan.error = std::strcmp(error, "short") == 0 ? kShort : std::atoi(error);
  plan.sticky = sticky[0] != 0;
  return plan;
}

bool is_unpublished(const char* path) { return std::strstr(path, ".partial") != nullptr; }

bool is_unpublished(int descriptor) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = ::readlink(link.c_str(), path, sizeof(path) - 1);
  if (length < 0) return false;
  path[length] = 0;
  return is_unpublished(path);
}

std::atomic<int> calls{0};

/// The error this call has to fail with, or 0.
template <typename File>
int failure(const char* call, File file) {
  static const Plan plan = read_plan();
  if (plan.call != call || !is_unpublished(file)) return 0;
  const int turn = ++calls;
  return turn == plan.turn || (plan.sticky && turn > plan.turn) ? plan.error : 0;
}

template <typename Function>
Function original(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int failed(int error) {
  errno = error;
  return -1;
}

}  // namespace

/// With EDGECOMPRESS_FAIL_COUNT, says at the end how often the call was made.
__attribute__((destructor)) void print_count() {
  if (std::getenv("EDGECOMPRESS_FAIL_COUNT") == nullptr) return;
  std::fprintf(stderr, "calls: %d\n", calls.load());
}

extern "C" {

ssize_t write(int descriptor, const void* data, size_t size) {
  static const auto real = original<ssize_t (*)(int, const void*, size_t)>("write");
  const int error = failure("write", descriptor);
  if (error == kShort) return real(descriptor, data, (size + 1) / 2);
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
  const int error = (flags & O_CREAT) != 0 ? failure("create", path) : 0;
  return error != 0 ? failed(error) : real(path, flags, mode);
}

/// Allocations of 64 KiB and more: those that grow with a model. Their "file" is always counted.
void* malloc(size_t size) noexcept {
  if (size >= kLargeAllocation && failure("malloc", ".partial") != 0) {
    errno = ENOMEM;
    return nullptr;
  }
  return __libc_malloc(size);
}

int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  if (size >= kLargeAllocation && failure("malloc", ".partial") != 0) return ENOMEM;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
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

}  // extern "C"
