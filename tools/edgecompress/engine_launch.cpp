#include "edgecompress/engine_launch.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>

#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"

namespace edgecompress::cli {
namespace {

namespace fs = std::filesystem;

struct Variable {
  const char* name;
  const char* value;
};

/// STRICT makes MKL's products independent of the number of threads, the branch makes them
/// independent of newer instructions. Intel promises branches on its own processors only; of the
/// others, AVX2 was seen to hold.
const char* mkl_branch() {
#ifdef __x86_64__
  if (__builtin_cpu_is("intel") && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return "AVX512,STRICT";
  }
#endif
  return "AVX2,STRICT";
}

// Huge pages spare most page faults of large tensors.
std::array<Variable, 3> engine_environment() {
  return {Variable{"MKL_CBWR", mkl_branch()}, Variable{"OMP_WAIT_POLICY", "passive"},
          Variable{"THP_MEM_ALLOC_ENABLE", "1"}};
}

fs::path find_engine() {
  const fs::path folder = fs::read_symlink("/proc/self/exe").parent_path();
  for (const fs::path& place : {folder, folder / "../libexec/edgecompress"}) {
    const fs::path engine = place / "edgecompress-engine";
    if (::access(engine.c_str(), X_OK) == 0) return engine;
  }
  throw Error(ErrorKind::Missing, "F-ENGINE",
              concat("edgecompress-engine is not beside ", (folder / "edgecompress").string(),
                     " nor in ../libexec/edgecompress; install edgecompress again"));
}

/// Without AVX2, MKL takes other products than the ones whose bytes are promised.
void refuse_old_processor() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return;
  throw Error(ErrorKind::Unsupported, "U-PROCESSOR",
              "this processor has no AVX2, which the computing commands need; inspect, verify, "
              "recipe, report and generate run without");
#endif
}

/// MKL ends the process where there is no working folder.
void refuse_deleted_folder() {
  std::error_code error;
  [[maybe_unused]] const fs::path folder = fs::current_path(error);
  if (!error) return;
  throw Error(ErrorKind::Missing, "F-OPEN",
              concat("the working folder is gone (", error.message(),
                     "); change to one that exists and run again"));
}

void set_variable(const char* name, const char* value) {
  if (::setenv(name, value, 1) != 0) throw std::bad_alloc();  // its only error for a valid name
}

}  // namespace

void start_engine(const std::vector<std::string>& arguments, int num_threads) {
  refuse_old_processor();
  refuse_deleted_folder();
  const fs::path engine = find_engine();
  for (const Variable& variable : engine_environment()) set_variable(variable.name, variable.value);
  set_variable("OMP_NUM_THREADS", std::to_string(num_threads).c_str());

  std::vector<std::string> copies{engine.string()};
  copies.insert(copies.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& argument : copies) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::execv(engine.c_str(), pointers.data());
  throw Error(ErrorKind::Missing, "F-ENGINE",
              concat("cannot start ", engine.string(), ": ", std::strerror(errno)));
}

void ensure_engine_environment() {
  for (const Variable& variable : engine_environment()) {
    const char* const value = std::getenv(variable.name);
    ensure(value != nullptr && std::string(value) == variable.value,
           "the engine to be started by edgecompress, which sets MKL_CBWR and OMP_WAIT_POLICY");
  }
}

}  // namespace edgecompress::cli
