#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "ort/ort_api.h"
#include "ort/session.h"

namespace edgecompress {

struct RuntimeState {
  const OrtApi* api = nullptr;
  const OrtApiBase* base = nullptr;
  OrtEnv* env = nullptr;
  OrtMemoryInfo* cpu = nullptr;
  OrtAllocator* allocator = nullptr;  // the process's own, never released

  RuntimeState() = default;
  RuntimeState(const RuntimeState&) = delete;
  ~RuntimeState();

  /// Takes `status`; throws its text as an Error when there is one.
  void check(OrtStatus* status, ErrorKind kind, const char* code, const std::string& doing) const;
};

/// An object of ONNX Runtime that is released with `Release`, a member of OrtApi.
template <auto Release, typename Object>
class Owned {
 public:
  explicit Owned(const OrtApi& api, Object* object = nullptr) : api_(&api), object_(object) {}
  ~Owned() { reset(); }
  Owned(Owned&& other) noexcept
      : api_(other.api_), object_(std::exchange(other.object_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }

  Object* get() const { return object_; }
  /// Where ONNX Runtime shall write the object; what was held is released.
  Object** receive() {
    reset();
    return &object_;
  }

 private:
  void reset() {
    if (object_ != nullptr) (api_->*Release)(std::exchange(object_, nullptr));
  }
  const OrtApi* api_;
  Object* object_;
};
using OwnedValue = Owned<&OrtApi::ReleaseValue, OrtValue>;

/// One input or output as the graph declares it; -1: a dimension without a number.
struct GraphTensor {
  std::string name;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::vector<std::int64_t> shape;
};

/// A graph in a session, with what it declares.
class LoadedGraph {
 public:
  LoadedGraph(const OnnxRuntime& runtime, const std::filesystem::path& graph,
              const OnnxSessionOptions& options);

  const RuntimeState& runtime() const { return *runtime_; }
  const std::string& file() const { return file_; }
  const std::vector<GraphTensor>& inputs() const { return inputs_; }
  const std::vector<GraphTensor>& outputs() const { return outputs_; }
  const GraphTensor* find_input(const std::string& name) const;
  const GraphTensor* find_output(const std::string& name) const;

  /// An uninitialized tensor in ONNX Runtime's memory.
  OwnedValue allocate(ONNXTensorElementDataType type, std::span<const std::int64_t> shape) const;
  /// A tensor over memory of the caller, which must outlive it and is not written.
  OwnedValue wrap(ONNXTensorElementDataType type, std::span<const std::int64_t> shape,
                  const void* data, std::size_t bytes) const;
  GraphTensor describe(const OrtValue& value) const;
  void* data(OrtValue& value) const;

  /// Runs the whole graph. Throws Error{Numeric, "O05"} with ONNX Runtime's words.
  std::vector<OwnedValue> run(std::span<const char* const> input_names,
                              std::span<const OrtValue* const> input_values,
                              std::span<const char* const> output_names);

 private:
  GraphTensor declared(std::size_t index, bool is_input) const;

  std::shared_ptr<const RuntimeState> runtime_;
  std::string file_;
  Owned<&OrtApi::ReleaseSession, OrtSession> session_;
  std::vector<GraphTensor> inputs_;
  std::vector<GraphTensor> outputs_;
};

}  // namespace edgecompress
