#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace edgecompress {

namespace onnx_ir {
class ModelProto;
}

/// Element types of the tensors export writes; the values are ONNX's (onnx.proto,
/// TensorProto.DataType).
enum class OnnxType : int {
  Float = 1,
  Uint8 = 2,
  Int8 = 3,
  Int32 = 6,
  Int64 = 7,
  Bool = 9,
  Float16 = 10,
  Bfloat16 = 16,
  Int4 = 22,
};

/// Bytes of a tensor's data; two INT4 elements share a byte.
std::uint64_t onnx_tensor_bytes(OnnxType type, std::span<const std::int64_t> dims);

/// Takes the next bytes of a tensor.
using ByteSink = std::function<void(std::span<const std::byte>)>;
/// Gives all bytes of a tensor, front to back; called when the tensor's turn comes, not before.
using ByteSource = std::function<void(const ByteSink&)>;

/// A constant of the graph.
struct Initializer {
  std::string name;
  OnnxType type = OnnxType::Float;
  std::vector<std::int64_t> dims;
  ByteSource source;
  std::vector<std::string> modules = {};  ///< checkpoint modules it is made from
  std::string same_bytes_as = {};         ///< an initializer with equal bytes, stored once for both

  std::uint64_t bytes() const { return onnx_tensor_bytes(type, dims); }
};

using AttributeValue = std::variant<std::int64_t, float, std::vector<std::int64_t>>;

struct Node {
  std::string name;
  std::string op;
  std::vector<std::string> inputs;  ///< "" for an optional input left out
  std::vector<std::pair<std::string, AttributeValue>> attributes = {};
  std::vector<std::string> outputs = {};  ///< empty: one, named "<name>/output_0"
};

/// A size, or the name of one that is known at run time.
using Dimension = std::variant<std::int64_t, std::string>;

inline constexpr std::string_view kMicrosoftDomain = "com.microsoft";
/// Of our own operators (docs/sparse-format.md).
inline constexpr std::string_view kSparseDomain = "ai.edgecompress";
inline constexpr std::string_view kPanelSparseMatMul = "PanelSparseMatMul";

/// Collects an ONNX graph. Names are checked as they are added, and a node may only use values that
/// exist, so the nodes are in topological order. Weights are held as recipes for their bytes, never
/// as bytes.
class GraphBuilder {
 public:
  /// The default domain at `opset`.
  explicit GraphBuilder(std::int64_t opset);
  ~GraphBuilder();
  GraphBuilder(const GraphBuilder&) = delete;
  GraphBuilder& operator=(const GraphBuilder&) = delete;

  void add_input(const std::string& name, OnnxType type, const std::vector<Dimension>& dims);
  void add_output(const std::string& name, OnnxType type, const std::vector<Dimension>& dims);

  /// Adds a node of ONNX's own domain. Returns its first output.
  std::string add(const Node& node);
  /// The same of the com.microsoft domain, version 1.
  std::string add_contrib(const Node& node);
  /// The same of our own domain, version 1.
  std::string add_sparse(const Node& node);

  /// Returns the initializer's name.
  std::string add(Initializer initializer);

  /// Small constants, made once per value.
  std::string int64_scalar(std::int64_t value);
  std::string int64_vector(const std::vector<std::int64_t>& values);
  std::string float_scalar(float value);
  std::string uint8_scalar(std::uint8_t value);

  void add_metadata(const std::string& key, const std::string& value);

  const std::vector<Initializer>& initializers() const { return initializers_; }

  /// The finished model. offsets: by initializer name, where its bytes lie in `data_file`; the
  /// bytes of all others are asked for now and stored in the graph.
  std::string serialize(const std::map<std::string, std::uint64_t, std::less<>>& offsets,
                        const std::string& data_file) const;

 private:
  std::string add_node(const Node& node, std::string_view domain);
  void import_domain(std::string_view domain);
  void claim_value(const std::string& name);

  std::unique_ptr<onnx_ir::ModelProto> model_;
  std::vector<Initializer> initializers_;
  std::set<std::string, std::less<>> values_;
  std::set<std::string, std::less<>> node_names_;
  std::set<std::string_view> imported_;  ///< domains besides ONNX's own
};

/// Throws Error{Unsupported} X4 for a graph that no protobuf message can hold: 2 GiB and more.
/// bytes: of the graph without the weights that lie in a file of their own.
void refuse_large_graph(std::uint64_t bytes);

}  // namespace edgecompress
