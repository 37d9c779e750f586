#include "ort/loaded_graph.h"
#include "ort/session.h"

namespace edgecompress {
namespace {

ONNXTensorElementDataType type_of(const std::vector<float>&) {
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}
ONNXTensorElementDataType type_of(const std::vector<std::int64_t>&) {
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
}
ONNXTensorElementDataType type_of(const std::vector<std::uint8_t>&) {
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
}

OwnedValue wrap(const LoadedGraph& graph, const OnnxTensor& tensor) {
  return std::visit(
      [&](const auto& values) {
        return graph.wrap(type_of(values), tensor.shape, values.data(),
                          values.size() * sizeof(values[0]));
      },
      tensor.values);
}

template <typename T>
std::vector<T> copied(const void* data, const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  const T* const first = static_cast<const T*>(data);
  return {first, first + count};
}

OnnxTensor copy_out(const LoadedGraph& graph, const std::string& name, OrtValue& value) {
  const GraphTensor found = graph.describe(value);
  const void* const data = graph.data(value);
  switch (found.type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return {name, found.shape, copied<float>(data, found.shape)};
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return {name, found.shape, copied<std::int64_t>(data, found.shape)};
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return {name, found.shape, copied<std::uint8_t>(data, found.shape)};
    default:
      throw Error(ErrorKind::Unsupported, "O05",
                  concat("output '", name, "' of ", graph.file(), " has ONNX element type ",
                         static_cast<int>(found.type), "; float, int64 and uint8 are read"));
  }
}

}  // namespace

OnnxSession::OnnxSession(const OnnxRuntime& runtime, const std::filesystem::path& graph,
                         const OnnxSessionOptions& options)
    : graph_(std::make_unique<LoadedGraph>(runtime, graph, options)) {}
OnnxSession::~OnnxSession() = default;
OnnxSession::OnnxSession(OnnxSession&&) noexcept = default;

std::vector<OnnxTensor> OnnxSession::run(std::span<const OnnxTensor> inputs) {
  std::vector<OwnedValue> wrapped;
  std::vector<const char*> input_names;
  std::vector<const OrtValue*> input_values;
  for (const OnnxTensor& input : inputs) {
    wrapped.push_back(wrap(*graph_, input));
    input_names.push_back(input.name.c_str());
    input_values.push_back(wrapped.back().get());
  }
  std::vector<const char*> output_names;
  for (const GraphTensor& output : graph_->outputs()) output_names.push_back(output.name.c_str());
  const std::vector<OwnedValue> results = graph_->run(input_names, input_values, output_names);
  std::vector<OnnxTensor> outputs;
  outputs.reserve(results.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    outputs.push_back(copy_out(*graph_, graph_->outputs()[i].name, *results[i].get()));
  }
  return outputs;
}

}  // namespace edgecompress
