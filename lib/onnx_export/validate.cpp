#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <vector>

#include <onnx_ir.pb.h>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "onnx_export/export_model.h"
#include "onnx_export/graph_builder.h"
#include "onnx_export/graph_check.h"

namespace edgecompress {
namespace {

[[noreturn]] void fail(const char* code, const std::string& message) {
  throw Error(ErrorKind::Malformed, code, message);
}

/// Bits of an element, or 0 for a type that a Llama's graph has no use for.
std::uint64_t element_bits(int type) {
  switch (type) {
    case onnx_ir::TensorProto_DataType_DOUBLE:
    case onnx_ir::TensorProto_DataType_INT64:
    case onnx_ir::TensorProto_DataType_UINT64:
      return 64;
    case onnx_ir::TensorProto_DataType_FLOAT:
    case onnx_ir::TensorProto_DataType_INT32:
    case onnx_ir::TensorProto_DataType_UINT32:
      return 32;
    case onnx_ir::TensorProto_DataType_FLOAT16:
    case onnx_ir::TensorProto_DataType_BFLOAT16:
    case onnx_ir::TensorProto_DataType_INT16:
    case onnx_ir::TensorProto_DataType_UINT16:
      return 16;
    case onnx_ir::TensorProto_DataType_INT8:
    case onnx_ir::TensorProto_DataType_UINT8:
    case onnx_ir::TensorProto_DataType_BOOL:
      return 8;
    case onnx_ir::TensorProto_DataType_INT4:
    case onnx_ir::TensorProto_DataType_UINT4:
      return 4;
    default:
      return 0;
  }
}

std::uint64_t expected_bytes(const onnx_ir::TensorProto& tensor) {
  const std::uint64_t bits = element_bits(tensor.data_type());
  if (bits == 0) {
    fail("O7", concat("initializer ", tensor.name(), " has element type ", tensor.data_type(),
                      ", which edgecompress does not know"));
  }
  std::uint64_t total = bits;
  for (const std::int64_t dim : tensor.dims()) {
    if (dim < 0) fail("O8", concat("initializer ", tensor.name(), " has the dimension ", dim));
    const auto product = checked_multiply(total, static_cast<std::uint64_t>(dim));
    if (!product) fail("O8", concat("initializer ", tensor.name(), " has too many elements"));
    total = *product;
  }
  return total / 8 + (total % 8 != 0 ? 1 : 0);
}

std::uint64_t parse_count(const std::string& tensor, const std::string& key,
                          const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    fail("O9", concat("initializer ", tensor, " has the ", key, " '", text,
                      "', expected a decimal number of bytes"));
  }
  return value;
}

}  // namespace

TensorPlacement placement_of(const onnx_ir::TensorProto& tensor) {
  TensorPlacement placement;
  std::set<std::string> seen;
  for (const onnx_ir::StringStringEntryProto& entry : tensor.external_data()) {
    if (!seen.insert(entry.key()).second) {
      fail("O9", concat("initializer ", tensor.name(), " gives ", entry.key(), " twice"));
    }
    if (entry.key() == "location") {
      placement.location = entry.value();
    } else if (entry.key() == "offset") {
      placement.offset = parse_count(tensor.name(), entry.key(), entry.value());
    } else if (entry.key() == "length") {
      placement.length = parse_count(tensor.name(), entry.key(), entry.value());
    } else if (entry.key() != "checksum") {
      fail("O9", concat("initializer ", tensor.name(), " has external data with the unknown key '",
                        entry.key(), "'"));
    }
  }
  return placement;
}

namespace {

/// One graph file with the data files beside it.
class FolderCheck {
 public:
  explicit FolderCheck(const std::filesystem::path& graph)
      : folder_(std::filesystem::canonical(graph).parent_path()) {}

  void check(const onnx_ir::ModelProto& model) {
    if (!model.has_graph() || model.ir_version() <= 0) {
      fail("O1", "the file holds no graph or no IR version");
    }
    check_imports(model);
    check_values(model.graph());
    for (const onnx_ir::TensorProto& tensor : model.graph().initializer()) check_tensor(tensor);
    check_overlaps();
    check_sparse_products(folder_, model.graph());
  }

 private:
  static std::string domain_of(const std::string& domain) {
    return domain == "ai.onnx" ? "" : domain;  // ONNX's two names of its own domain
  }

  static void check_imports(const onnx_ir::ModelProto& model) {
    std::set<std::string> imported;
    for (const onnx_ir::OperatorSetIdProto& opset : model.opset_import()) {
      if (!imported.insert(domain_of(opset.domain())).second) {
        fail("O2", concat("operator set '", opset.domain(), "' is imported twice"));
      }
    }
    for (const onnx_ir::NodeProto& node : model.graph().node()) {
      if (imported.contains(domain_of(node.domain()))) continue;
      fail("O2", concat("node ", node.name(), " uses operator set '", node.domain(),
                        "', which the model does not import"));
    }
  }

  static void check_values(const onnx_ir::GraphProto& graph) {
    std::set<std::string> values;
    const auto define = [&](const std::string& name, const char* what) {
      if (name.empty()) fail("O3", concat(what, " without a name"));
      if (!values.insert(name).second) {
        fail("O3", concat(what, " ", name, " has the name of another value"));
      }
    };
    for (const auto& input : graph.input()) define(input.name(), "graph input");
    for (const auto& tensor : graph.initializer()) define(tensor.name(), "initializer");
    std::set<std::string> node_names;
    for (const onnx_ir::NodeProto& node : graph.node()) {
      if (!node.name().empty() && !node_names.insert(node.name()).second) {
        fail("O4", concat("two nodes are named ", node.name()));
      }
      for (const std::string& input : node.input()) {
        if (input.empty() || values.contains(input)) continue;
        fail("O5",
             concat("node ", node.name(), " reads ", input,
                    ", which is no graph input, no initializer and no earlier node's output"));
      }
      for (const std::string& output : node.output()) {
        if (!output.empty()) define(output, "node output");
      }
    }
    if (graph.output().empty()) fail("O6", "the graph has no output");
    for (const auto& output : graph.output()) {
      if (values.contains(output.name())) continue;
      fail("O6", concat("nothing produces graph output ", output.name()));
    }
  }

  void check_tensor(const onnx_ir::TensorProto& tensor) {
    const std::uint64_t expected = expected_bytes(tensor);
    if (tensor.data_location() == onnx_ir::TensorProto_DataLocation_EXTERNAL) {
      check_external(tensor, expected);
    } else if (tensor.raw_data().size() != expected) {
      fail("O10", concat("initializer ", tensor.name(), " holds ", tensor.raw_data().size(),
                         " bytes in the graph, its dimensions and type need ", expected));
    }
  }

  void check_external(const onnx_ir::TensorProto& tensor, std::uint64_t expected) {
    const TensorPlacement placement = placement_of(tensor);
    const std::uint64_t size = size_of(tensor.name(), placement.location);
    if (placement.offset > size) {
      fail("O12", concat("initializer ", tensor.name(), " begins at byte ", placement.offset,
                         " of ", placement.location, ", which has ", size));
    }
    const std::uint64_t length = placement.length.value_or(size - placement.offset);
    if (length != expected) {
      fail("O10", concat("initializer ", tensor.name(), " has ", length, " bytes of ",
                         placement.location, ", its dimensions and type need ", expected));
    }
    if (length > size - placement.offset) {
      fail("O12", concat("initializer ", tensor.name(), " needs bytes ", placement.offset, " to ",
                         placement.offset + length, " of ", placement.location, ", which has ",
                         size, "; the file may be incomplete"));
    }
    ranges_.emplace_back(placement.location, placement.offset, length, tensor.name());
  }

  /// Size of a data file, after making sure that it lies in the folder.
  std::uint64_t size_of(const std::string& tensor, const std::string& location) {
    if (const auto known = sizes_.find(location); known != sizes_.end()) return known->second;
    const std::filesystem::path relative(location);
    const auto refuse = [&](const char* why) {
      fail("O11", concat("initializer ", tensor, " names the data file '", location, "', ", why));
    };
    if (location.empty() || location.find('\\') != std::string::npos || relative.is_absolute()) {
      refuse("expected a relative path with forward slashes");
    }
    for (const std::filesystem::path& part : relative) {
      if (part == "..") refuse("which leaves the folder of the graph");
    }
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(folder_ / relative, error);
    if (error || !std::filesystem::is_regular_file(real)) refuse("which is no file");
    if (std::ranges::mismatch(folder_, real).in1 != folder_.end()) {
      refuse("which leaves the folder of the graph through a link");
    }
    return sizes_[location] = std::filesystem::file_size(real);
  }

  /// Two tensors may share all their bytes, as a tied embedding and head do, or none.
  void check_overlaps() {
    std::ranges::sort(ranges_);
    for (std::size_t i = 1; i < ranges_.size(); ++i) {
      const auto& [file, offset, length, name] = ranges_[i - 1];
      const auto& [next_file, next_offset, next_length, next_name] = ranges_[i];
      const bool same = offset == next_offset && length == next_length;
      if (file != next_file || same || next_offset - offset >= length) continue;
      fail("O13", concat("initializers ", name, " and ", next_name, " overlap in ", file,
                         " at byte ", next_offset));
    }
  }

  std::filesystem::path folder_;
  std::map<std::string, std::uint64_t, std::less<>> sizes_;
  std::vector<std::tuple<std::string, std::uint64_t, std::uint64_t, std::string>> ranges_;
};

}  // namespace

onnx_ir::ModelProto read_graph(const std::filesystem::path& graph) {
  const MappedFile file(graph);
  onnx_ir::ModelProto model;
  if (file.bytes().size() > std::numeric_limits<std::int32_t>::max() ||
      !model.ParseFromArray(file.bytes().data(), static_cast<int>(file.bytes().size()))) {
    fail("O1", concat(graph.string(), " is not an ONNX model"));
  }
  return model;
}

void validate_onnx_folder(const std::filesystem::path& graph) {
  with_context(concat("checking ", graph.string()),
               [&] { FolderCheck(graph).check(read_graph(graph)); });
}

bool needs_operator_library(const std::filesystem::path& graph) {
  const onnx_ir::ModelProto model = read_graph(graph);
  return std::ranges::any_of(model.opset_import(),
                             [](const auto& opset) { return opset.domain() == kSparseDomain; });
}

}  // namespace edgecompress
