#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgecompress {

/// Writes ONNX files by hand, for tests of single operators that must not depend on the exporter or
/// on protobuf. Field numbers are those of onnx.proto.
class TinyOnnx {
 public:
  using Attributes = std::vector<std::pair<std::string, std::int64_t>>;

  static constexpr int kFloat = 1;
  static constexpr int kUint8 = 2;
  static constexpr int kInt8 = 3;

  /// A dimension is a number, or a name when negative ("d1" for -1).
  void input(const std::string& name, int type, const std::vector<std::int64_t>& shape) {
    graph_ += field(11, value_info(name, type, &shape));
  }
  /// Without a shape, which the runtime must then infer.
  void output(const std::string& name, int type) {
    graph_ += field(12, value_info(name, type, nullptr));
  }
  void initializer(const std::string& name, int type, const std::vector<std::int64_t>& shape,
                   std::string_view bytes) {
    std::string tensor;
    for (const std::int64_t extent : shape) tensor += number(1, extent);
    tensor += number(2, type) + field(8, name) + field(9, bytes);
    graph_ += field(5, tensor);
  }
  void node(const std::string& domain, const std::string& op,
            const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
            const Attributes& attributes) {
    std::string node;
    for (const std::string& each : inputs) node += field(1, each);
    for (const std::string& each : outputs) node += field(2, each);
    node += field(3, outputs.at(0)) + field(4, op);
    for (const auto& [name, value] : attributes) {
      node += field(5, field(1, name) + number(3, value) + number(20, 2));  // 2: INT
    }
    graph_ += field(1, node + field(7, domain));
  }

  std::string model() const {
    const auto opset = [](const std::string& domain, std::int64_t version) {
      return field(8, field(1, domain) + number(2, version));
    };
    return number(1, 10) + opset("", 21) + opset("com.microsoft", 1) + opset("ai.edgecompress", 1) +
           field(7, field(2, "tiny") + graph_);
  }

 private:
  static std::string varint(std::uint64_t value) {
    std::string bytes;
    for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
    return bytes + static_cast<char>(value);
  }
  static std::string number(int id, std::int64_t value) {
    return varint(static_cast<std::uint64_t>(id) << 3) + varint(static_cast<std::uint64_t>(value));
  }
  static std::string field(int id, std::string_view bytes) {
    return varint((static_cast<std::uint64_t>(id) << 3) | 2) + varint(bytes.size()) +
           std::string(bytes);
  }
  static std::string value_info(const std::string& name, int type,
                                const std::vector<std::int64_t>* shape) {
    std::string tensor = number(1, type);
    if (shape != nullptr) {
      std::string dims;
      for (const std::int64_t extent : *shape) {
        dims += field(1, extent >= 0 ? number(1, extent) : field(2, "d" + std::to_string(-extent)));
      }
      tensor += field(2, dims);
    }
    return field(1, name) + field(2, field(1, tensor));
  }

  std::string graph_;
};

/// The bytes of a span of numbers.
template <typename T>
std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace edgecompress
