#include "ort/loaded_graph.h"

#include <algorithm>

namespace edgecompress {
namespace {

using SessionOptions = Owned<&OrtApi::ReleaseSessionOptions, OrtSessionOptions>;

SessionOptions make_options(const RuntimeState& runtime, const OnnxSessionOptions& wanted) {
  const OrtApi& api = *runtime.api;
  const auto check = [&](OrtStatus* status, const std::string& doing) {
    runtime.check(status, ErrorKind::Usage, "O03", doing);
  };
  SessionOptions options(api);
  check(api.CreateSessionOptions(options.receive()), "making session options");
  check(api.SetIntraOpNumThreads(options.get(), wanted.num_threads), "setting threads");
  check(api.SetInterOpNumThreads(options.get(), 1), "setting threads");
  for (const auto& [key, value] : wanted.config_entries) {
    check(api.AddSessionConfigEntry(options.get(), key.c_str(), value.c_str()),
          concat("setting session option ", key, "=", value));
  }
  if (!wanted.custom_ops_library.empty()) {
    const std::string library = std::filesystem::absolute(wanted.custom_ops_library).string();
    check(api.RegisterCustomOpsLibrary_V2(options.get(), library.c_str()),
          concat("loading custom operators from ", library));
  }
  return options;
}

std::vector<std::int64_t> shape_of(const RuntimeState& runtime,
                                   const OrtTensorTypeAndShapeInfo& info) {
  const auto check = [&](OrtStatus* status) {
    runtime.check(status, ErrorKind::Malformed, "O04", "reading a tensor's shape");
  };
  std::size_t rank = 0;
  check(runtime.api->GetDimensionsCount(&info, &rank));
  std::vector<std::int64_t> shape(rank);
  check(runtime.api->GetDimensions(&info, shape.data(), rank));
  return shape;
}

const GraphTensor* find(const std::vector<GraphTensor>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const GraphTensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

}  // namespace

LoadedGraph::LoadedGraph(const OnnxRuntime& runtime, const std::filesystem::path& graph,
                         const OnnxSessionOptions& options)
    : runtime_(runtime.state_), file_(graph.string()), session_(*runtime_->api) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(graph, ignored)) {
    throw Error(ErrorKind::Missing, "O03", concat("there is no ONNX graph ", graph));
  }
  const OrtApi& api = *runtime_->api;
  const auto check = [&](OrtStatus* status) {
    runtime_->check(status, ErrorKind::Malformed, "O04", concat(graph, " does not load"));
  };
  const SessionOptions made = make_options(*runtime_, options);
  check(api.CreateSession(runtime_->env, file_.c_str(), made.get(), session_.receive()));
  std::size_t count = 0;
  check(api.SessionGetInputCount(session_.get(), &count));
  for (std::size_t i = 0; i < count; ++i) inputs_.push_back(declared(i, true));
  check(api.SessionGetOutputCount(session_.get(), &count));
  for (std::size_t i = 0; i < count; ++i) outputs_.push_back(declared(i, false));
}

GraphTensor LoadedGraph::declared(std::size_t index, bool is_input) const {
  const OrtApi& api = *runtime_->api;
  const auto check = [&](OrtStatus* status) {
    runtime_->check(status, ErrorKind::Malformed, "O04", "reading what " + file_ + " declares");
  };
  GraphTensor tensor;
  char* name = nullptr;
  check((is_input ? api.SessionGetInputName : api.SessionGetOutputName)(
      session_.get(), index, runtime_->allocator, &name));
  tensor.name = name;
  check(api.AllocatorFree(runtime_->allocator, name));
  Owned<&OrtApi::ReleaseTypeInfo, OrtTypeInfo> type(api);
  check((is_input ? api.SessionGetInputTypeInfo : api.SessionGetOutputTypeInfo)(
      session_.get(), index, type.receive()));
  const OrtTensorTypeAndShapeInfo* info = nullptr;  // part of `type`; null when this is no tensor
  check(api.CastTypeInfoToTensorInfo(type.get(), &info));
  if (info == nullptr) return tensor;
  check(api.GetTensorElementType(info, &tensor.type));
  tensor.shape = shape_of(*runtime_, *info);
  return tensor;
}

const GraphTensor* LoadedGraph::find_input(const std::string& name) const {
  return find(inputs_, name);
}

const GraphTensor* LoadedGraph::find_output(const std::string& name) const {
  return find(outputs_, name);
}

OwnedValue LoadedGraph::allocate(ONNXTensorElementDataType type,
                                 std::span<const std::int64_t> shape) const {
  OwnedValue value(*runtime_->api);
  runtime_->check(runtime_->api->CreateTensorAsOrtValue(runtime_->allocator, shape.data(),
                                                        shape.size(), type, value.receive()),
                  ErrorKind::Memory, "O05", "allocating a tensor");
  return value;
}

OwnedValue LoadedGraph::wrap(ONNXTensorElementDataType type, std::span<const std::int64_t> shape,
                             const void* data, std::size_t bytes) const {
  OwnedValue value(*runtime_->api);
  runtime_->check(runtime_->api->CreateTensorWithDataAsOrtValue(
                      runtime_->cpu, const_cast<void*>(data), bytes, shape.data(), shape.size(),
                      type, value.receive()),
                  ErrorKind::Numeric, "O05", "handing over a tensor");
  return value;
}

GraphTensor LoadedGraph::describe(const OrtValue& value) const {
  Owned<&OrtApi::ReleaseTensorTypeAndShapeInfo, OrtTensorTypeAndShapeInfo> info(*runtime_->api);
  const auto check = [&](OrtStatus* status) {
    runtime_->check(status, ErrorKind::Numeric, "O05", "reading what " + file_ + " returned");
  };
  check(runtime_->api->GetTensorTypeAndShape(&value, info.receive()));
  GraphTensor tensor;
  check(runtime_->api->GetTensorElementType(info.get(), &tensor.type));
  tensor.shape = shape_of(*runtime_, *info.get());
  return tensor;
}

void* LoadedGraph::data(OrtValue& value) const {
  void* pointer = nullptr;
  runtime_->check(runtime_->api->GetTensorMutableData(&value, &pointer), ErrorKind::Numeric, "O05",
                  "reading what " + file_ + " returned");
  return pointer;
}

std::vector<OwnedValue> LoadedGraph::run(std::span<const char* const> input_names,
                                         std::span<const OrtValue* const> input_values,
                                         std::span<const char* const> output_names) {
  ensure(input_names.size() == input_values.size(), "as many input names as values");
  std::vector<OrtValue*> raw(output_names.size(), nullptr);
  OrtStatus* const status =
      runtime_->api->Run(session_.get(), nullptr, input_names.data(), input_values.data(),
                         input_names.size(), output_names.data(), output_names.size(), raw.data());
  std::vector<OwnedValue> outputs;
  outputs.reserve(raw.size());
  for (OrtValue* value : raw) outputs.emplace_back(*runtime_->api, value);
  runtime_->check(status, ErrorKind::Numeric, "O05", "running " + file_);
  return outputs;
}

}  // namespace edgecompress
