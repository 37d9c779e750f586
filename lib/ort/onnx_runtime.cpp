#include <new>

#include <dlfcn.h>

#include "base/error.h"
#include "ort/loaded_graph.h"
#include "ort/session.h"

namespace edgecompress {
namespace {

const OrtApiBase* open_library(const std::filesystem::path& library) {
  // RTLD_LOCAL keeps ONNX Runtime's symbols (protobuf, oneDNN) away from LibTorch's. The handle is
  // never closed: threads of the library may still run when the last session is gone.
  void* const handle = dlopen(std::filesystem::absolute(library).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const reason = dlerror();
    throw Error(ErrorKind::Missing, "O01",
                concat("ONNX Runtime's library does not load: ", reason != nullptr ? reason : "?"));
  }
  using GetApiBase = const OrtApiBase* (*)();
  const auto get_base = reinterpret_cast<GetApiBase>(dlsym(handle, "OrtGetApiBase"));
  if (get_base == nullptr) {
    throw Error(ErrorKind::Missing, "O01",
                concat(library, " is a library, but not ONNX Runtime's: it has no OrtGetApiBase"));
  }
  return get_base();
}

}  // namespace

RuntimeState::~RuntimeState() {
  if (cpu != nullptr) api->ReleaseMemoryInfo(cpu);
  if (env != nullptr) api->ReleaseEnv(env);
}

void RuntimeState::check(OrtStatus* status, ErrorKind kind, const char* code,
                         const std::string& doing) const {
  if (status == nullptr) return;
  const std::string words = api->GetErrorMessage(status);
  api->ReleaseStatus(status);
  // want of memory has no code of its own
  if (words.find("std::bad_alloc") != std::string::npos) throw std::bad_alloc();
  throw Error(kind, code,
              concat(doing, ": ONNX Runtime ", base->GetVersionString(), " says: ", words));
}

OnnxRuntime::OnnxRuntime(const std::filesystem::path& library) {
  const auto state = std::make_shared<RuntimeState>();
  state->base = open_library(library);
  state->api = state->base->GetApi(kOnnxRuntimeApi);
  if (state->api == nullptr) {
    throw Error(ErrorKind::Unsupported, "O02",
                concat(library, " is ONNX Runtime ", state->base->GetVersionString(),
                       ", but 1.17 or newer is needed"));
  }
  const auto check = [&](OrtStatus* status) {
    state->check(status, ErrorKind::Unsupported, "O02", "ONNX Runtime does not start");
  };
  // Its messages come back in statuses, which end in our Errors; nothing is to be printed beside
  // them.
  check(state->api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "edgecompress", &state->env));
  check(state->api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &state->cpu));
  check(state->api->GetAllocatorWithDefaultOptions(&state->allocator));
  state_ = state;
}

std::string OnnxRuntime::version() const { return state_->base->GetVersionString(); }

}  // namespace edgecompress
