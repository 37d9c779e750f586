#include "onnx_export/graph_builder.h"

#include <cstring>
#include <iomanip>
#include <limits>

#include <onnx_ir.pb.h>

#include "base/checked_math.h"
#include "base/error.h"
#include "onnx_export/onnx_version.h"

namespace edgecompress {
namespace {

int bits_per_element(OnnxType type) {
  switch (type) {
    case OnnxType::Int64:
      return 64;
    case OnnxType::Float:
    case OnnxType::Int32:
      return 32;
    case OnnxType::Float16:
    case OnnxType::Bfloat16:
      return 16;
    case OnnxType::Uint8:
    case OnnxType::Int8:
    case OnnxType::Bool:
      return 8;
    case OnnxType::Int4:
      return 4;
  }
  ensure(false, "a known ONNX type");
  return 0;
}

void set_type(onnx_ir::ValueInfoProto& value, const std::string& name, OnnxType type,
              const std::vector<Dimension>& dims) {
  value.set_name(name);
  onnx_ir::TypeProto_Tensor& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(static_cast<int>(type));
  for (const Dimension& dim : dims) {
    onnx_ir::TensorShapeProto_Dimension& out = *tensor.mutable_shape()->add_dim();
    if (const auto* size = std::get_if<std::int64_t>(&dim)) {
      out.set_dim_value(*size);
    } else {
      out.set_dim_param(std::get<std::string>(dim));
    }
  }
}

void set_attribute(onnx_ir::NodeProto& node, const std::string& name, const AttributeValue& value) {
  onnx_ir::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    attribute.set_type(onnx_ir::AttributeProto_AttributeType_INT);
    attribute.set_i(*integer);
  } else if (const auto* number = std::get_if<float>(&value)) {
    attribute.set_type(onnx_ir::AttributeProto_AttributeType_FLOAT);
    attribute.set_f(*number);
  } else {
    attribute.set_type(onnx_ir::AttributeProto_AttributeType_INTS);
    for (const std::int64_t item : std::get<std::vector<std::int64_t>>(value)) {
      attribute.add_ints(item);
    }
  }
}

void set_external(onnx_ir::TensorProto& tensor, const std::string& file, std::uint64_t offset,
                  std::uint64_t length) {
  tensor.set_data_location(onnx_ir::TensorProto_DataLocation_EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    onnx_ir::StringStringEntryProto& entry = *tensor.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  };
  add("location", file);
  add("offset", std::to_string(offset));
  add("length", std::to_string(length));
}

std::uint64_t multiply(std::uint64_t a, std::uint64_t b) {
  const std::optional<std::uint64_t> product = checked_multiply(a, b);
  if (!product) ensure(false, "a tensor whose size in bits fits 64 bits");
  return product.value_or(0);
}

template <typename T>
ByteSource source_of(std::vector<T> values) {
  return [values = std::move(values)](const ByteSink& sink) {
    sink(std::as_bytes(std::span(values)));
  };
}

}  // namespace

std::uint64_t onnx_tensor_bytes(OnnxType type, std::span<const std::int64_t> dims) {
  std::uint64_t elements = 1;
  for (const std::int64_t dim : dims) {
    ensure(dim >= 0, "a size of at least 0");
    elements = multiply(elements, static_cast<std::uint64_t>(dim));
  }
  const std::uint64_t bits = multiply(elements, static_cast<std::uint64_t>(bits_per_element(type)));
  return bits / 8 + (bits % 8 != 0 ? 1 : 0);
}

GraphBuilder::GraphBuilder(std::int64_t opset) : model_(std::make_unique<onnx_ir::ModelProto>()) {
  model_->set_ir_version(kOnnxIrVersion);
  model_->set_producer_name("edgecompress");
  model_->set_producer_version(EDGECOMPRESS_VERSION);
  onnx_ir::OperatorSetIdProto& standard = *model_->add_opset_import();
  standard.set_domain("");
  standard.set_version(opset);
  model_->mutable_graph()->set_name("main_graph");
  add_metadata("edgecompress_version", EDGECOMPRESS_VERSION);
}

GraphBuilder::~GraphBuilder() = default;

void GraphBuilder::claim_value(const std::string& name) {
  ensure(!name.empty(), "a value with a name");
  if (!values_.insert(name).second) ensure(false, concat("one value named ", name).c_str());
}

void GraphBuilder::add_input(const std::string& name, OnnxType type,
                             const std::vector<Dimension>& dims) {
  claim_value(name);
  set_type(*model_->mutable_graph()->add_input(), name, type, dims);
}

void GraphBuilder::add_output(const std::string& name, OnnxType type,
                              const std::vector<Dimension>& dims) {
  if (!values_.contains(name)) ensure(false, concat("a value for output ", name).c_str());
  set_type(*model_->mutable_graph()->add_output(), name, type, dims);
}

std::string GraphBuilder::add(const Node& node) { return add_node(node, ""); }

std::string GraphBuilder::add_contrib(const Node& node) { return add_node(node, kMicrosoftDomain); }

std::string GraphBuilder::add_sparse(const Node& node) { return add_node(node, kSparseDomain); }

void GraphBuilder::import_domain(std::string_view domain) {
  if (domain.empty() || !imported_.insert(domain).second) return;
  onnx_ir::OperatorSetIdProto& opset = *model_->add_opset_import();
  opset.set_domain(std::string(domain));
  opset.set_version(1);
}

std::string GraphBuilder::add_node(const Node& node, std::string_view domain) {
  import_domain(domain);
  if (!node_names_.insert(node.name).second) {
    ensure(false, concat("one node named ", node.name).c_str());
  }
  onnx_ir::NodeProto& out = *model_->mutable_graph()->add_node();
  out.set_name(node.name);
  out.set_op_type(node.op);
  if (!domain.empty()) out.set_domain(std::string(domain));
  for (const std::string& input : node.inputs) {
    if (!input.empty() && !values_.contains(input)) {
      ensure(false, concat("value ", input, " before node ", node.name).c_str());
    }
    out.add_input(input);
  }
  for (const auto& [name, value] : node.attributes) set_attribute(out, name, value);
  const std::vector<std::string> outputs =
      node.outputs.empty() ? std::vector<std::string>{node.name + "/output_0"} : node.outputs;
  for (const std::string& output : outputs) {
    if (!output.empty()) claim_value(output);
    out.add_output(output);
  }
  return outputs.front();
}

std::string GraphBuilder::add(Initializer initializer) {
  claim_value(initializer.name);
  initializers_.push_back(std::move(initializer));
  return initializers_.back().name;
}

std::string GraphBuilder::int64_scalar(std::int64_t value) {
  std::string name = concat("/model/constants/INT64/", value);
  if (values_.contains(name)) return name;
  return add(Initializer{.name = name,
                         .type = OnnxType::Int64,
                         .dims = {},
                         .source = source_of(std::vector<std::int64_t>{value}),
                         .modules = {},
                         .same_bytes_as = {}});
}

std::string GraphBuilder::int64_vector(const std::vector<std::int64_t>& values) {
  std::string name = "/model/constants/INT64/[";
  for (std::size_t i = 0; i < values.size(); ++i) name += concat(i == 0 ? "" : ",", values[i]);
  name += "]";
  if (values_.contains(name)) return name;
  return add(Initializer{.name = name,
                         .type = OnnxType::Int64,
                         .dims = {static_cast<std::int64_t>(values.size())},
                         .source = source_of(values),
                         .modules = {},
                         .same_bytes_as = {}});
}

std::string GraphBuilder::float_scalar(float value) {
  constexpr int kAllDigits = std::numeric_limits<float>::max_digits10;  // two values, two names
  std::string name = concat("/model/constants/FLOAT/", std::setprecision(kAllDigits), value);
  if (values_.contains(name)) return name;
  return add(Initializer{.name = name,
                         .type = OnnxType::Float,
                         .dims = {},
                         .source = source_of(std::vector<float>{value}),
                         .modules = {},
                         .same_bytes_as = {}});
}

std::string GraphBuilder::uint8_scalar(std::uint8_t value) {
  std::string name = concat("/model/constants/UINT8/", static_cast<int>(value));
  if (values_.contains(name)) return name;
  return add(Initializer{.name = name,
                         .type = OnnxType::Uint8,
                         .dims = {},
                         .source = source_of(std::vector<std::uint8_t>{value}),
                         .modules = {},
                         .same_bytes_as = {}});
}

void GraphBuilder::add_metadata(const std::string& key, const std::string& value) {
  onnx_ir::StringStringEntryProto& entry = *model_->add_metadata_props();
  entry.set_key(key);
  entry.set_value(value);
}

std::string GraphBuilder::serialize(
    const std::map<std::string, std::uint64_t, std::less<>>& offsets,
    const std::string& data_file) const {
  onnx_ir::ModelProto model = *model_;
  for (const Initializer& initializer : initializers_) {
    onnx_ir::TensorProto& tensor = *model.mutable_graph()->add_initializer();
    tensor.set_name(initializer.name);
    tensor.set_data_type(static_cast<int>(initializer.type));
    for (const std::int64_t dim : initializer.dims) tensor.add_dims(dim);
    if (const auto offset = offsets.find(initializer.name); offset != offsets.end()) {
      set_external(tensor, data_file, offset->second, initializer.bytes());
      continue;
    }
    std::string& raw = *tensor.mutable_raw_data();
    initializer.source([&](std::span<const std::byte> bytes) {
      raw.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    ensure(raw.size() == initializer.bytes(), "a source that gives all bytes of its tensor");
  }
  refuse_large_graph(model.ByteSizeLong());
  std::string bytes;
  ensure(model.SerializeToString(&bytes), "a message that serializes");
  return bytes;
}

void refuse_large_graph(std::uint64_t bytes) {
  constexpr auto kLargestMessage =
      static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max());
  if (bytes <= kLargestMessage) return;
  throw Error(
      ErrorKind::Unsupported, "X4",
      concat("the graph without its weights takes ", bytes,
             " bytes, and a protobuf message at most ", kLargestMessage, "; shorten its metadata"));
}

}  // namespace edgecompress
